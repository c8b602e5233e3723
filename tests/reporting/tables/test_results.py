import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.report import write_report
from clr_hpc.reporting.stats.compare import compare, models_of_an_arm
from clr_hpc.reporting.stats.evaluate import Evaluation, evaluate
from clr_hpc.reporting.stats.metrics import MEASURES, Measure
from clr_hpc.reporting.stats.scoring import ScoredRun, result_rows, score_runs
from clr_hpc.reporting.tables import results
from clr_hpc.reporting.tables.table import Table

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def test_what_all_rows_share_moves_to_the_caption(make_study: StudyMaker) -> None:
    table = results.result_table(result_rows(scored(make_study())))
    assert table.caption.endswith("all rows: MobileNetV1, SGD, from scratch")
    titles = [column.title for column in table.columns]
    assert "Architecture" not in titles
    assert all(len(row) == len(titles) for row in table.rows)


def test_seeds_have_a_column_where_there_are_several(make_study: StudyMaker) -> None:
    table = results.result_table(result_rows(scored(make_study(pathologies=("edema",), seeds=(0, 1)))))
    position = [column.title for column in table.columns].index("Seed SD")
    assert float(table.rows[0][position].text) > 0


@pytest.mark.parametrize(("done", "text"), [(1, "not defined"), (0, "not done")])
def test_an_undefined_measure_gives_its_reason_and_sorts_last(
    make_study: StudyMaker, done: int, text: str
) -> None:
    row, *others = result_rows(scored(make_study()))
    undefined = replace(row.auroc, value=float("nan"), interval=None, note="no positive image")
    gap = replace(row, measures={**row.measures, "auroc": undefined}, done=done)
    table = results.result_table([gap, *others])
    position = [column.title for column in table.columns].index("AUROC (95 % CI)")
    cell = table.rows[0][position]
    assert (cell.text, cell.hint) == (text, "no positive image")
    assert all(float(cell.order) < float(other[position].order) for other in table.rows[1:])


def test_models_of_each_arm_are_held_against_its_last(make_study: StudyMaker) -> None:
    runs = scored(make_study())
    by_arm = {arm: compare(models_of_an_arm(runs, arm)) for arm in ("Triangular", "Modified triangular2")}
    table = results.model_table(by_arm)
    assert [row[0].text for row in table.rows] == ["Triangular"] * 3 + ["Modified triangular2"] * 3
    assert [row[3].text == "reference" for row in table.rows] == [True, False, False] * 2


METHODS = ("deep_svdd", "one_class_svm")


@pytest.fixture
def evaluation(make_study: StudyMaker) -> Evaluation:
    skill = {"cosine": 0.8, "triangular": 1.4, "triangular2_modified": 0.8}
    return evaluate(read_study(make_study(skill={}, retrained=skill, seeds=(0, 1), one_class=METHODS)))


def column(table: Table, title: str) -> list[str]:
    position = [column.title for column in table.columns].index(title)
    return [row[position].text for row in table.rows]


def test_one_class_rows_hold_what_the_threshold_promises(evaluation: Evaluation) -> None:
    table = results.one_class_table(evaluation.one_class.rows)
    assert set(column(table, "One class: method")) == {"No finding: Deep SVDD", "No finding: One-class SVM"}
    assert set(column(table, "Expected")) == {"0.05"}
    for row, text in zip(evaluation.one_class.rows, column(table, "False-positive rate (95 % CI)"), strict=True):
        rate, bounds = row.false_positive_rate
        assert bounds is not None
        assert bounds.low <= rate <= bounds.high
        assert text.startswith(f"{rate:.3f} (")
        assert 0.0 < rate < 0.12


def test_one_column_per_arm_in_the_table_of_slices(evaluation: Evaluation) -> None:
    table = results.slice_table(evaluation.slices)
    assert column(table, "Slice") == ["AP", "PA", "F", "M", "under 40", "40 to 60", "60 and over"]
    arms = [title for title in (column.title for column in table.columns) if ", " in title]
    assert len(arms) == 4
    values = [float(text.split(" ")[0]) for arm in arms for text in column(table, arm)]
    assert np.all(np.array(values) > 0.5)


def test_a_measure_is_added_in_one_place(make_study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Table, CSV and LaTeX follow the registry. No measure to come will have this key and title."""
    folder = make_study()
    added = Measure(
        "of_a_test",
        "Made-up measure",
        lambda drawn: 2 * drawn.confusion[0] / (drawn.confusion[0] + drawn.confusion[1]),
        needs=("positives", "threshold"),
        hint="Harmonic mean of precision and recall",
        higher_is_better=False,
        write=lambda value: f"{100 * value:.1f} %",
        for_one_class=True,
        in_paper=True,
    )
    monkeypatch.setitem(MEASURES, "of_a_test", added)
    page = write_report(folder, "none")
    row, *_ = result_rows(scored(folder))
    assert 0 < row.measures["of_a_test"].value < 1
    table = results.result_table([row])
    assert table.columns[-2].title == "Made-up measure"
    assert table.columns[-2].hint == "Harmonic mean of precision and recall; lower is better"
    assert column(table, "Made-up measure") == [f"{100 * row.measures['of_a_test'].value:.1f} %"]
    assert f">{column(table, 'Made-up measure')[0]}</td>" in page.read_text()
    lines = list(csv.DictReader((page.parent / "results.csv").read_text().splitlines()))
    assert float(lines[0]["of_a_test"]) == row.measures["of_a_test"].value
    assert {"of_a_test_low", "of_a_test_high", "of_a_test_seed_sd"} <= set(lines[0])
    assert "test_of_a_test" in (page.parent / "runs.csv").read_text().partition("\n")[0]
    assert r"\caption{Made-up measure on the test split" in (page.parent / "paper.tex").read_text()
    assert "Made-up measure" in [column.title for column in results.one_class_table([row]).columns]
