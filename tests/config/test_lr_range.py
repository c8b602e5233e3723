"""``auto`` rates, the range tests that they come from, and what else a study may leave to the project."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.config.expand import (
    UnmeasuredRateError,
    auto_optimizers,
    expand,
    is_reference,
    range_test_study,
)
from clr_hpc.config.load import load_study
from clr_hpc.config.lr_range import MeasuredRates
from clr_hpc.config.optimizer import Adam, Sgd
from clr_hpc.config.policy import Ramp, half_cycle_epochs
from clr_hpc.config.study import Study
from clr_hpc.config.task import BinaryTask

CHECKSUM = "a" * 64
STUDY: dict[str, Any] = {
    "name": "trial",
    "pack": "packs/phantom",
    "pathologies": ["mass", "nodule"],
    "architectures": ["mobilenet_v1", "alexnet"],
    "optimizers": ["sgd", "adam"],
    "rates": {"sgd": "auto", "adam": {"lr_min": 1e-4, "lr_max": 1e-3}},
    "stages": {
        "baseline": {"policies": [{"name": "exponential", "gamma": 0.5}, "cosine"]},
        "retrain": {"policies": ["triangular", "one_cycle"], "epochs": 12},
    },
    "training": {"epochs": 4, "image_size": 64},
}


def study(**changes: Any) -> Study:
    return Study.model_validate(STUDY | changes)


def measured(architecture: str, lr_min: float, optimizer: Any = None) -> MeasuredRates:
    return MeasuredRates(
        architecture=architecture,
        optimizer=optimizer or Sgd(),
        task=BinaryTask(pathology="mass"),
        lr_min=lr_min,
        lr_max=100 * lr_min,
        lr=10 * lr_min,
        tests=("one", "two"),
    )


def resolved(**changes: Any) -> Study:
    of_both = (measured("mobilenet_v1", 0.001), measured("alexnet", 0.002))
    return study(**changes).model_copy(update={"measured": of_both})


def test_auto_is_refused_as_long_as_nothing_was_measured() -> None:
    with pytest.raises(UnmeasuredRateError, match="'clr-hpc range-test' makes it"):
        expand(study(), CHECKSUM)


def test_waves_take_both_measured_bounds_and_other_policies_the_rate_between() -> None:
    of_sgd = [run for run in expand(resolved(), CHECKSUM) if run.optimizer.name == "sgd"]
    for run in of_sgd:
        lr_min = {"mobilenet_v1": 0.001, "alexnet": 0.002}[run.architecture]
        highest = 100 * lr_min if run.policy.name in ("triangular", "one_cycle") else 10 * lr_min
        assert run.policy.lr_max == highest
        assert getattr(run.policy, "lr_min", lr_min) == lr_min
    assert {run.task.name for run in of_sgd} == {"mass", "nodule"}, "one pathology stands for all"


def test_the_same_numbers_written_out_give_the_same_runs() -> None:
    one = resolved(architectures=["alexnet"], stages={"scratch": {"policies": ["triangular"]}}, optimizers=["sgd"])
    by_hand = study(
        architectures=["alexnet"],
        stages={"scratch": {"policies": ["triangular"]}},
        optimizers=["sgd"],
        rates={"sgd": {"lr_min": 0.002, "lr_max": 0.2}},
    )
    assert expand(one, CHECKSUM) == expand(by_hand, CHECKSUM)


def test_what_was_measured_survives_a_trip_through_the_file(tmp_path: Path) -> None:
    there = resolved()
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(there.model_dump(mode="json")))
    assert expand(load_study(file), CHECKSUM) == expand(there, CHECKSUM)


def test_what_was_measured_with_another_optimizer_does_not_count() -> None:
    of_another = tuple(measured(name, 0.001, Sgd(momentum=0.5)) for name in ("mobilenet_v1", "alexnet"))
    with pytest.raises(UnmeasuredRateError):
        expand(study().model_copy(update={"measured": of_another}), CHECKSUM)


def test_auto_may_stand_for_one_bound_and_in_a_policy() -> None:
    assert auto_optimizers(study()) == (Sgd(),)
    half = study(rates={"sgd": {"lr_min": "auto", "lr_max": 0.05}, "adam": {"lr_min": 0.0, "lr_max": 0.1}})
    found = expand(half.model_copy(update={"measured": resolved().measured}), CHECKSUM)
    waves = [run for run in found if run.policy.name == "triangular" and run.optimizer == Sgd()]
    assert {(run.policy.lr_min, run.policy.lr_max) for run in waves} == {(0.001, 0.05), (0.002, 0.05)}
    in_policy = study(
        rates={}, stages={"scratch": {"policies": [{"name": "constant", "lr_max": "auto"}]}}, optimizers=["adam"]
    )
    assert auto_optimizers(in_policy) == (Adam(),)
    plain = {"lr_min": 0.1, "lr_max": 1}
    assert auto_optimizers(study(rates={"sgd": plain, "adam": plain})) == ()


def test_there_is_a_test_for_each_architecture_learner_optimizer_and_seed() -> None:
    one_class = [{"methods": ["autoencoder", "deep_svdd", "one_class_svm"], "features_of": "mass"}]
    tests = expand(range_test_study(study(one_class=one_class)), CHECKSUM)
    assert {spec.stage for spec in tests} == {"range_test"}
    learners = {(spec.task.name, spec.architecture) for spec in tests}
    assert learners == {
        ("mass", "mobilenet_v1"),
        ("mass", "alexnet"),
        ("no_finding-deep_svdd", "mobilenet_v1"),
        ("no_finding-deep_svdd", "alexnet"),
        ("no_finding-autoencoder", "mobilenet_v1"),
    }, "a method that is fitted takes no steps, and the autoencoder has a network of its own"
    assert len(tests) == len({spec.run_id for spec in tests}) == 5 * 3 * (1 + 2)
    assert sum(is_reference(spec) for spec in tests) == 5 * 3


def test_tests_do_not_depend_on_what_does_not_change_them() -> None:
    """So that studies share them."""
    plain = expand(range_test_study(study()), CHECKSUM)
    other_course = {"epochs": 40, "early_stop_epochs": 3, "measure_training_split_every": 5}
    other_course["training_accuracy_images"] = 100
    longer = study(name="other", seeds=[5, 6], training=STUDY["training"] | other_course)
    other_policies = longer.model_copy(
        update={"stages": study(stages={"scratch": {"policies": ["constant"]}}).stages}
    )
    assert expand(range_test_study(other_policies), CHECKSUM) == plain
    other_batch = expand(range_test_study(study(training=STUDY["training"] | {"batch_size": 8})), CHECKSUM)
    assert {spec.run_id for spec in other_batch}.isdisjoint(spec.run_id for spec in plain)


def test_a_test_is_made_as_the_study_says() -> None:
    asked = {
        "scale": "linear",
        "epochs": 9,
        "seeds": [4],
        "pathology": "Hernia",
        "rates": {"adam": {"lr_min": 1e-5, "lr_max": 1e-2}},
    }
    tests = expand(range_test_study(study(range_test=asked), (Adam(),)), CHECKSUM)
    (found,) = [spec for spec in tests if not is_reference(spec) and spec.architecture == "alexnet"]
    assert found.policy == Ramp(lr_min=1e-5, lr_max=1e-2, total_epochs=9, scale="linear")
    assert (found.training.epochs, found.seed, found.task.name) == (9, 4, "hernia")


@pytest.mark.parametrize(
    ("epochs", "half"),
    [(1, 0.5), (2, 1), (3, 1.5), (4, 2), (12, 2), (16, 2), (24, 3), (80, 10), (100, 10), (101, 101 / 12)],
)
def test_half_a_cycle_comes_from_the_stages_length(epochs: int, half: float) -> None:
    assert half_cycle_epochs(epochs) == pytest.approx(half)


@given(st.integers(1, 1000))
def test_a_stage_ends_at_the_foot_of_a_wave(epochs: int) -> None:
    half = half_cycle_epochs(epochs)
    cycles = epochs / (2 * half)
    assert cycles == pytest.approx(round(cycles))
    assert half <= 10
    assert half >= 2 or cycles == 1


def test_half_a_cycle_stands_in_the_spec_and_may_be_given() -> None:
    (run,) = [run for run in expand(resolved(), CHECKSUM) if run.policy.name == "triangular"][:1]
    assert run.policy.half_cycle_epochs == 2
    own = study(stages={"scratch": {"policies": [{"name": "triangular", "half_cycle_epochs": 1.5}]}})
    runs = expand(own.model_copy(update={"measured": resolved().measured}), CHECKSUM)
    assert {run.policy.half_cycle_epochs for run in runs} == {1.5}
