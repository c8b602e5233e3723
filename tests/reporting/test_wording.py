from types import SimpleNamespace
from typing import Any

import pytest

from clr_hpc.config.run import RunSpec, WarmStart
from clr_hpc.config.task import OneClassTask
from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.bootstrap import Interval


def spec(optimizer: dict[str, Any], policy: dict[str, Any]) -> RunSpec:
    fields = {
        "pack_checksum": "0" * 64,
        "task": {"kind": "binary", "pathology": "edema"},
        "stage": "scratch",
        "architecture": "alexnet",
        "training": {"epochs": 1},
    }
    return RunSpec.model_validate(fields | {"optimizer": optimizer, "policy": policy})


def test_a_policys_rates_that_follow_the_optimizer_do_not_make_it_two() -> None:
    specs = [
        spec({"name": "sgd"}, {"name": "constant", "lr_max": 0.1}),
        spec({"name": "adam"}, {"name": "constant", "lr_max": 0.001}),
    ]
    assert list(wording.policy_labels(specs).values()) == ["Constant", "Constant"]


def test_two_settings_of_one_policy_are_told_apart_by_what_differs() -> None:
    waves = [
        {"name": "triangular", "lr_min": 0.01, "lr_max": 0.1, "half_cycle_epochs": epochs} for epochs in (1, 2)
    ]
    labels = wording.policy_labels([spec({"name": "sgd"}, wave) for wave in waves])
    assert list(labels.values()) == ["Triangular (half_cycle_epochs 1.0)", "Triangular (half_cycle_epochs 2.0)"]


def test_two_settings_of_one_optimizer_are_told_apart() -> None:
    constant = {"name": "constant", "lr_max": 0.1}
    specs = [spec({"name": "sgd", "momentum": momentum}, constant) for momentum in (0.0, 0.9)]
    assert list(wording.optimizer_labels(specs).values()) == ["SGD (momentum 0.0)", "SGD (momentum 0.9)"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.2, "4.2 s"), (185, "3:05 min"), (660, "11:00 min"), (7385, "2:03:05 h"), (float("nan"), "–"), (None, "–")],
)
def test_duration(seconds: float | None, text: str) -> None:
    assert wording.duration(seconds) == text


def test_numbers_carry_a_minus_and_not_a_hyphen() -> None:
    assert wording.between(Interval(-0.0124, 0.024)) == "−0.012 to 0.024"
    assert wording.number(float("nan")) == "–"


def test_what_rounds_to_zero_has_no_sign() -> None:
    assert wording.number(-0.0001) == "0.000"
    assert wording.signed(0.0001) == "0.000"
    assert wording.signed(0.012) == "+0.012"
    assert wording.signed(-0.012) == "−0.012"
    assert wording.p_value(0.0004) == "< 0.001"


def test_listed_and_count() -> None:
    assert wording.listed(["a", "b", "c"]) == "a, b and c"
    assert wording.listed(["a"]) == "a"
    assert wording.count(1, "run") == "1 run"
    assert wording.count(1200, "run") == "1,200 runs"
    assert wording.count(14, "pathology") == "14 pathologies"


def test_a_decay_that_lasts_as_long_as_its_stage_is_one_policy() -> None:
    baseline = spec({"name": "sgd"}, {"name": "cosine", "lr_max": 0.1, "total_epochs": 12}).model_copy(
        update={"stage": "baseline"}
    )
    policy = baseline.policy.model_copy(update={"total_epochs": 6})
    control = baseline.model_copy(
        update={"stage": "control", "policy": policy, "start": WarmStart(baseline=baseline)}
    )
    assert set(wording.policy_labels([baseline, control]).values()) == {"Cosine decay"}
    assert list(wording.start_labels([baseline, control]).values()) == [""]
    best = control.model_copy(update={"start": WarmStart(baseline=baseline, weights="best")})
    assert list(wording.start_labels([control, best]).values()) == ["weights last", "weights best"]


def test_methods_of_one_class_are_told_apart_by_what_differs() -> None:
    constant = {"name": "constant", "lr_max": 0.1}
    tasks = [
        {"kind": "one_class", "method": {"name": "deep_svdd", "boundary": boundary}}
        for boundary in ("hard", "soft")
    ]
    specs = [spec({"name": "sgd"}, constant) for _ in tasks]
    specs = [
        RunSpec.model_validate(one.model_dump() | {"task": task}) for one, task in zip(specs, tasks, strict=True)
    ]
    assert list(wording.task_labels(specs).values()) == [
        "No finding: Deep SVDD (boundary hard)",
        "No finding: Deep SVDD (boundary soft)",
    ]


def test_detectors_of_pyod_are_named() -> None:
    fits = [
        {"kind": "one_class", "method": {"name": "pyod", "detector": "KNN", "arguments": {"n_neighbors": count}}}
        for count in (3, 5)
    ]
    tasks = [OneClassTask.model_validate(fit) for fit in fits]
    labels = wording.task_labels(SimpleNamespace(task=task) for task in tasks)  # type: ignore[misc]
    assert list(labels.values()) == [
        "No finding: PyOD KNN (arguments {'n_neighbors': 3})",
        "No finding: PyOD KNN (arguments {'n_neighbors': 5})",
    ]
