from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.compare import compare, models_of_an_arm
from clr_hpc.reporting.stats.scoring import ScoredRun, result_rows, score_runs
from clr_hpc.reporting.tables import html

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def test_what_all_rows_share_moves_to_the_caption(make_study: StudyMaker) -> None:
    table = html.result_table(result_rows(scored(make_study())))
    assert table.caption.endswith("all rows: MobileNetV1, SGD, from scratch")
    titles = [column.title for column in table.columns]
    assert "Architecture" not in titles
    assert all(len(row) == len(titles) for row in table.rows)


def test_seeds_have_a_column_where_there_are_several(make_study: StudyMaker) -> None:
    table = html.result_table(result_rows(scored(make_study(pathologies=("edema",), seeds=(0, 1)))))
    position = [column.title for column in table.columns].index("Seed SD")
    assert float(table.rows[0][position].text) > 0


@pytest.mark.parametrize(("done", "text"), [(1, "not defined"), (0, "not done")])
def test_an_undefined_measure_gives_its_reason_and_sorts_last(
    make_study: StudyMaker, done: int, text: str
) -> None:
    row, *others = result_rows(scored(make_study()))
    undefined = replace(row.auroc, value=float("nan"), interval=None, note="no positive image")
    gap = replace(row, measures={**row.measures, "auroc": undefined}, done=done)
    table = html.result_table([gap, *others])
    position = [column.title for column in table.columns].index("AUROC (95 % interval)")
    cell = table.rows[0][position]
    assert (cell.text, cell.hint) == (text, "no positive image")
    assert all(float(cell.order) < float(other[position].order) for other in table.rows[1:])


def test_models_of_each_arm_stand_best_first(make_study: StudyMaker) -> None:
    runs = scored(make_study())
    by_arm = {arm: compare(models_of_an_arm(runs, arm)) for arm in ("Triangular", "Modified triangular2")}
    table = html.model_table(by_arm)
    assert [row[0].text for row in table.rows] == ["Triangular"] * 3 + ["Modified triangular2"] * 3
    assert [row[3].text == "best" for row in table.rows] == [True, False, False] * 2
