import copy
import pickle

import pytest
from pydantic import ValidationError

from clr_hpc.config.optimizer import Adagrad, Sgd
from clr_hpc.config.policy import Constant, Triangular
from clr_hpc.config.run import Initialisation, RunSpec, Training, WarmStart


def spec(**changes: object) -> RunSpec:
    values: dict[str, object] = {
        "pack_checksum": "a" * 64,
        "task": {"kind": "binary", "pathology": "mass"},
        "stage": "scratch",
        "architecture": "mobilenet_v1",
        "optimizer": Sgd(),
        "policy": Constant(lr_max=0.01),
        "training": Training(epochs=2, image_size=64),
    }
    return RunSpec.model_validate(values | changes)


def test_id_survives_a_trip_through_json() -> None:
    there = spec(seed=3)
    back = RunSpec.model_validate_json(there.model_dump_json())
    assert back == there
    assert back.run_id == there.run_id


def test_id_is_the_same_on_every_machine() -> None:
    # run folders made earlier must be found again: a change of this value is a change of format
    before = spec(training=Training(epochs=2, image_size=64, augmentation={"flip_probability": 0.5}))
    assert before.run_id == "86f56a8cd4"


def test_an_id_is_computed_once_and_a_changed_copy_has_its_own() -> None:
    one, equal = spec(), spec()
    assert one.run_id is one.run_id
    assert one == equal
    assert hash(one) == hash(equal)
    assert one.model_dump_json() == equal.model_dump_json()
    for same in (pickle.loads(pickle.dumps(one)), copy.copy(one), copy.deepcopy(one), one.model_copy()):
        assert same == one
        assert same.run_id == one.run_id
    other = one.model_copy(update={"seed": 1})
    assert other.run_id == spec(seed=1).run_id != one.run_id
    baseline = spec(stage="baseline")
    start = WarmStart(baseline=baseline, weights="last")
    before = spec(stage="retrain", start=start).run_id
    assert baseline.run_id
    assert spec(stage="retrain", start=start).run_id == before


def test_films_are_not_mirrored_unless_the_study_says_so() -> None:
    training = Training(epochs=2, image_size=64)
    assert training.augmentation.flip_probability == 0
    assert training.model_dump()["augmentation"]["flip_probability"] == 0, "or a later default would change it"


@pytest.mark.parametrize(
    "change",
    [
        {"pack_checksum": "b" * 64},
        {"task": {"kind": "binary", "pathology": "nodule"}},
        {"architecture": "densenet121"},
        {"optimizer": Sgd(momentum=0.8)},
        {"policy": Constant(lr_max=0.02)},
        {"seed": 1},
        {"training": Training(epochs=3, image_size=64)},
    ],
)
def test_id_covers_everything_that_decides_the_result(change: dict[str, object]) -> None:
    assert spec(**change).run_id != spec().run_id


def test_name_says_what_the_run_is() -> None:
    assert spec().name == f"mass.mobilenet_v1.sgd.scratch.constant.seed0.{spec().run_id}"


def test_spec_never_changes() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        spec().seed = 1  # type: ignore[misc]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": {"kind": "binary", "pathology": "pneumona"}}, "did you mean 'pneumonia'"),
        ({"architecture": "alexnet", "training": Training(epochs=1, image_size=48)}, "raise it to 64"),
        ({"optimizer": {"name": "sgd", "momentun": 0.9}}, "did you mean 'momentum'"),
        ({"sed": 1}, "did you mean 'seed'"),
        ({"seed": -1}, "greater than or equal to 0"),
    ],
)
def test_mistakes_are_named_with_their_remedy(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        spec(**change)


def test_adagrad_has_no_momentum_to_cycle() -> None:
    cycling = Triangular(lr_min=0.1, lr_max=1, half_cycle_epochs=1, momentum_min=0.8, momentum_max=0.9)
    assert spec(policy=cycling).policy == cycling
    with pytest.raises(ValidationError, match="adagrad does not have"):
        spec(policy=cycling, optimizer=Adagrad())


def test_a_weights_file_without_imagenet_is_a_mistake() -> None:
    with pytest.raises(ValidationError, match="weights: imagenet only"):
        Initialisation(file="weights.pth")


def test_a_retrained_runs_id_covers_its_whole_baseline() -> None:
    def retrained(**of_baseline: object) -> RunSpec:
        return spec(stage="retrain", start=WarmStart(baseline=spec(stage="baseline", **of_baseline)))

    assert retrained().run_id == retrained().run_id
    assert retrained().run_id != retrained(seed=9).run_id
    best = spec(stage="retrain", start=WarmStart(baseline=spec(stage="baseline"), weights="best"))
    assert best.run_id != retrained().run_id
    assert RunSpec.model_validate_json(best.model_dump_json()) == best


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"stage": "retrain"}, "retrain, control and fit have a start"),
        ({"stage": "baseline", "start": True}, "retrain, control and fit have a start"),
        ({"stage": "fit", "start": True}, "does not suit mass"),
        ({"stage": "fit"}, "stage=fit without a start needs a network with weights"),
    ],
)
def test_stage_and_start_must_agree(change: dict[str, object], message: str) -> None:
    if "start" in change:
        change = change | {"start": WarmStart(baseline=spec(stage="baseline"))}
    with pytest.raises(ValidationError, match=message):
        spec(**change)


def test_a_run_starts_from_a_baseline_only() -> None:
    with pytest.raises(ValidationError, match="stage=retrain starts from baseline, not from scratch"):
        spec(stage="retrain", start=WarmStart(baseline=spec()))


def test_momenta_are_those_of_the_last_weights() -> None:
    with pytest.raises(ValidationError, match="needs weights: last"):
        WarmStart(baseline=spec(stage="baseline"), weights="best", optimizer="continued")


def test_rates_scale_with_the_batch_over_the_reference() -> None:
    assert Training(epochs=1, batch_size=256).rate_scale(256) == 1
    assert Training(epochs=1, batch_size=256, rate_scaling={"reference_batch_size": 32}).rate_scale(256) == 8
    with pytest.raises(ValidationError, match="greater than 0"):
        Training(epochs=1, rate_scaling={"rule": "linear", "reference_batch_size": 0})
    with pytest.raises(ValidationError, match="linear"):
        Training(epochs=1, rate_scaling={"rule": "square", "reference_batch_size": 32})


def test_measuring_seldom_is_part_of_the_id_and_each_epoch_is_not() -> None:
    each, seldom = (
        spec(training=Training(epochs=2, image_size=64, **values))
        for values in ({}, {"measure_training_split_every": 2})
    )
    assert "measure_training_split_every" not in each.model_dump()["training"]
    assert seldom.run_id != each.run_id
    assert RunSpec.model_validate_json(seldom.model_dump_json()) == seldom


@pytest.mark.parametrize("images", [100, "all"])
def test_the_sample_of_the_training_split_is_part_of_the_id_where_it_is_not_the_default(images: int | str) -> None:
    default, given, other = (
        spec(training=Training(epochs=2, image_size=64, **values))
        for values in ({}, {"training_accuracy_images": 4096}, {"training_accuracy_images": images})
    )
    assert "training_accuracy_images" not in default.model_dump()["training"]
    assert given.model_dump_json() == default.model_dump_json()
    assert other.run_id != default.run_id
    assert RunSpec.model_validate_json(other.model_dump_json()) == other


@pytest.mark.parametrize("images", [0, -1, 1.5, "some", None])
def test_a_sample_is_a_number_of_images_or_all(images: object) -> None:
    with pytest.raises(ValidationError, match="must be a number of images, or all"):
        Training(epochs=1, training_accuracy_images=images)


def test_scaling_is_part_of_the_id_where_it_is_on() -> None:
    scaled = spec(training=Training(epochs=2, image_size=64, rate_scaling={"reference_batch_size": 16}))
    assert scaled.run_id != spec(training=Training(epochs=2, image_size=64)).run_id
    assert RunSpec.model_validate_json(scaled.model_dump_json()) == scaled
