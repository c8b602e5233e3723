"""The ``tune`` section: what it refuses, and which runs its trials are."""

from typing import Any

import pytest
import yaml

from clr_hpc.config.expand import expand
from clr_hpc.config.load import checked_study
from clr_hpc.config.study import Study
from clr_hpc.config.tune import EarlyStopping, Tuning
from clr_hpc.config.tuned_study import trial_runs, tuned_study

CHECKSUM = "c0ffee" + "0" * 58
STUDY = yaml.safe_load("""
name: trial
pack: packs/none
pathologies: [edema, hernia]
architectures: [mobilenet_v1, densenet121]
optimizers: [{name: adam}, {name: sgd, weight_decay: 0.1}]
rates:
  adam: {lr_min: 0.0001, lr_max: 0.001}
  sgd: {lr_min: 0.001, lr_max: 0.01}
stages:
  baseline: {policies: [cosine, constant], epochs: 6}
  retrain: {policies: [{name: triangular, half_cycle_epochs: 1}], epochs: 4}
seeds: [0, 7]
training: {epochs: 3, batch_size: 16, image_size: 32}
""")


def study(**tune: Any) -> Study:
    section = {"trials": 4, "space": {"batch_size": [16, 64]}} | tune
    return checked_study(STUDY | {"tune": section})


def test_a_study_without_the_section_has_the_runs_that_it_had() -> None:
    with_it, without = study(), Study.model_validate(STUDY)
    assert [spec.run_id for spec in expand(with_it, CHECKSUM)] == [
        spec.run_id for spec in expand(without, CHECKSUM)
    ]


def test_a_trial_is_a_run_a_seed_of_the_first_of_everything() -> None:
    runs = trial_runs(study(), {"batch_size": 64}, CHECKSUM)
    assert [spec.seed for spec in runs] == [0, 7]
    for spec in runs:
        assert (spec.task.name, spec.architecture, spec.optimizer.name) == ("edema", "mobilenet_v1", "adam")
        assert (spec.stage, spec.policy.name, spec.training.epochs) == ("baseline", "cosine", 6)
        assert spec.training.batch_size == 64


def test_settings_that_the_study_has_already_are_its_own_runs() -> None:
    own = {spec.run_id for spec in expand(study(), CHECKSUM)}
    assert {spec.run_id for spec in trial_runs(study(), {"batch_size": 16}, CHECKSUM)} <= own


def test_what_is_named_is_tuned() -> None:
    named = study(
        stage="retrain",
        task="hernia",
        architecture="densenet121",
        optimizer="sgd",
        seeds=[3],
        space={"lr_max": [0.1, 0.2], "half_cycle_epochs": {"low": 0.5, "high": 2}},
    )
    (spec,) = trial_runs(named, {"lr_max": 0.2, "half_cycle_epochs": 0.5}, CHECKSUM)
    assert (spec.task.name, spec.architecture, spec.seed) == ("hernia", "densenet121", 3)
    assert (spec.optimizer.name, spec.optimizer.weight_decay) == ("sgd", 0.1)
    rates = {"lr_min": 0.001, "lr_max": 0.2, "half_cycle_epochs": 0.5}
    assert spec.policy.model_dump(exclude_none=True) == rates | {"name": "triangular"}
    assert spec.start is not None
    baseline = spec.start.baseline.policy
    assert (baseline.name, baseline.lr_max) == ("cosine", 0.01), "the baseline keeps the study's first policy"


def test_a_minimum_can_be_a_part_of_the_maximum() -> None:
    space = {"lr_max": [0.01, 0.1], "lr_min_fraction": [0.1, 0.5]}
    (spec, _) = trial_runs(study(space=space), {"lr_max": 0.1, "lr_min_fraction": 0.5}, CHECKSUM)
    assert spec.policy.model_dump()["lr_min"] == 0.05


def test_weight_decay_is_the_optimizers() -> None:
    (spec, _) = trial_runs(study(space={"weight_decay": [0, 0.01]}), {"weight_decay": 0.01}, CHECKSUM)
    assert spec.optimizer.weight_decay == 0.01


def test_the_tuned_study_has_the_trials_runs() -> None:
    ids = {spec.run_id for spec in expand(tuned_study(study(), {"batch_size": 64}), CHECKSUM)}
    assert {spec.run_id for spec in trial_runs(study(), {"batch_size": 64}, CHECKSUM)} <= ids


@pytest.mark.parametrize(
    ("tune", "message"),
    [
        ({"space": {}}, "space is empty"),
        ({"space": {"batch_sise": [1, 2]}}, "did you mean 'batch_size'"),
        ({"space": {"batch_size": [16]}}, "must have two values or more"),
        ({"space": {"batch_size": [16, 16]}}, "each once"),
        ({"space": {"lr_max": {"low": 0.1, "high": 0.01}}}, "high=0.01 must be above low=0.1"),
        ({"space": {"lr_max": {"low": 0, "high": 1, "scale": "log"}}}, "low=0 has no logarithm"),
        ({"space": {"lr_max": [0.1, 1], "lr_min": [0.01, 0.5]}}, "lr_max=0.1 must be above lr_min=0.5"),
        ({"space": {"lr_min": [0.01, 0.5], "lr_min_fraction": [0.1, 0.5]}}, "say the same"),
        ({"space": {"half_cycle_epochs": [1, 2]}}, "unknown key of cosine: 'half_cycle_epochs'"),
        ({"trials": None}, "say how many trials"),
        ({"seeds": []}, "must be one or more"),
        ({"seeds": [1, 1]}, "each once"),
        ({"stage": "retrain"}, "shares with its baseline"),
        ({"stage": "scratch"}, "unknown stage in tune: 'scratch'"),
        ({"policy": "cosin"}, "did you mean 'cosine'"),
        ({"task": "edma"}, "did you mean 'edema'"),
        ({"architecture": "alexnet"}, "unknown architecture in tune"),
        ({"optimizer": "rmsprop"}, "unknown optimizer in tune"),
        ({"search": "bayes"}, "smac-forest"),
    ],
)
def test_mistakes_are_told_with_a_remedy(tune: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        study(**tune)


def test_a_grid_ends_by_itself() -> None:
    assert Tuning.model_validate({"search": "grid", "space": {"batch_size": [1, 2]}}).trials is None


@pytest.mark.parametrize(
    ("epochs", "rungs"), [(1, (1,)), (2, (1, 2)), (9, (1, 3, 9)), (10, (1, 3, 9, 10)), (27, (1, 3, 9, 27))]
)
def test_rungs_end_with_the_training(epochs: int, rungs: tuple[int, ...]) -> None:
    assert EarlyStopping(min_epochs=1, reduction=3).rungs(epochs) == rungs


def test_rates_that_are_auto_are_put_in_before_they_are_tuned() -> None:
    auto = STUDY | {"rates": STUDY["rates"] | {"adam": "auto"}}
    with pytest.raises(ValueError, match="'clr-hpc range-test' prints"):
        checked_study(auto | {"tune": {"trials": 4, "space": {"batch_size": [16, 64]}}})
