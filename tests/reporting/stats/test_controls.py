"""Controls whose peak rate is the retraining's, and those whose peak rate is another."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.contrast import ArmContrast, against_control
from clr_hpc.reporting.stats.scoring import score_runs

WAVE = {"name": "triangular", "half_cycle_epochs": 1}
SKILL = {"cosine": 1.0, "triangular": 1.2, "constant": 1.0}
StudyMaker = Callable[..., Path]


def contrasts(
    make_study: StudyMaker, retraining: Mapping[str, Any], seeds: tuple[int, ...] = (0,)
) -> list[ArmContrast]:
    """Return the contrasts of a study whose baselines peak at 0.01."""
    folder = make_study(skill={}, retrained=SKILL, retraining=retraining, seeds=seeds)
    return list(against_control(score_runs(read_study(folder), np.random.default_rng(0))))


def test_equal_peak_rates_need_no_words(make_study: StudyMaker) -> None:
    assert {one.control for one in contrasts(make_study, {"policies": [WAVE, "constant"]})} == {"Cosine decay"}


def test_a_control_with_another_peak_rate_is_told(make_study: StudyMaker) -> None:
    higher = {"policies": [WAVE | {"lr_max": 0.03}, "constant"]}
    wave, constant = contrasts(make_study, higher)
    assert wave.control == "Cosine decay, peak rate 0.33 times the retraining's"
    assert constant.control == "Cosine decay"


def test_each_policy_is_compared_with_the_control_of_its_peak_rate(make_study: StudyMaker) -> None:
    matched = {"policies": [WAVE | {"lr_max": 0.03}, "constant"], "control": "rate_matched"}
    wave, constant = contrasts(make_study, matched, seeds=(0, 1))
    assert wave.control == "Cosine decay (lr_max 0.03), rate-matched: the retraining's peak rate"
    assert constant.control == "Cosine decay (lr_max 0.01)"
    for contrast, peak in ((wave, 0.03), (constant, 0.01)):
        for task in contrast.tasks:
            assert len(task.pairs) == 2
            for pair in task.pairs:
                assert pair.second.record.spec.policy.lr_max == peak == pair.first.record.spec.policy.lr_max
                assert pair.second.record.spec.start == pair.first.record.spec.start


def test_a_rate_that_the_study_gives_to_the_control_is_told(make_study: StudyMaker) -> None:
    (wave,) = contrasts(make_study, {"policies": [WAVE], "control": {"sgd": 0.005}})
    assert wave.control == "Cosine decay, peak rate 0.5 times the retraining's, set in the study"


@pytest.mark.parametrize("peak", [0.03, 0.003])
def test_a_single_matched_control_is_named(make_study: StudyMaker, peak: float) -> None:
    matched = {"policies": [WAVE | {"lr_max": peak}], "control": "rate_matched"}
    (wave,) = contrasts(make_study, matched)
    assert wave.control.endswith(", rate-matched: the retraining's peak rate")
