import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.contrast import ArmContrast, against_control
from clr_hpc.reporting.stats.cost import ArmCost, Saving, arm_costs, saving
from clr_hpc.reporting.stats.scoring import score_runs

StudyMaker = Callable[..., Path]
THREE = ("effusion", "edema", "pneumothorax")


def costs(folder: Path) -> tuple[dict[str, ArmCost], Saving]:
    runs = score_runs(read_study(folder), np.random.default_rng(0))
    contrast: ArmContrast = against_control(runs)[0]
    return {cost.arm: cost for cost in arm_costs(runs)}, saving(contrast)


def set_steps(folder: Path, pattern: str, steps: int | None) -> None:
    for file in folder.glob(f"runs/{pattern}/result.json"):
        result = json.loads(file.read_text())
        result["target"]["reached_at"] = None if steps is None else {"steps": steps}
        file.write_text(json.dumps(result))


def test_the_ratio_is_the_geometric_mean_over_pathologies(make_study: StudyMaker) -> None:
    folder = make_study(THREE, skill={}, retrained={"cosine": 1.0, "triangular": 1.0})
    for task, steps in zip(THREE, (10, 20, 40), strict=True):
        set_steps(folder, f"{task}.*.retrain.*", steps)
        set_steps(folder, f"{task}.*.control.*", 20)
    by_arm, found = costs(folder)
    assert found.ratio == pytest.approx(1.0)
    assert found.interval is not None
    # Student's t of two degrees of freedom: 4.303 standard errors of log 2 / sqrt(3)
    assert np.log(found.interval.high) == pytest.approx(4.3027 * np.log(2) / np.sqrt(3), rel=1e-4)
    assert found.tasks == 3
    assert by_arm["Triangular, retrained"].steps_to_target == pytest.approx(70 / 3)


def test_pairs_that_do_not_both_reach_the_target_are_counted_and_have_no_ratio(make_study: StudyMaker) -> None:
    folder = make_study(THREE, skill={}, retrained={"cosine": 1.0, "triangular": 1.0})
    set_steps(folder, "effusion.*.retrain.*", None)
    set_steps(folder, "edema.*.control.*", None)
    by_arm, found = costs(folder)
    assert (found.tasks, found.pairs, found.reached, found.control_reached) == (1, 3, 2, 2)
    assert found.interval is None
    assert by_arm["Triangular, retrained"].reached == 2
    assert by_arm["Cosine decay, baseline"].with_target == 0
    set_steps(folder, "pneumothorax.*.control.*", None)
    assert np.isnan(costs(folder)[1].ratio)
    assert costs(folder)[1].tasks == 0
