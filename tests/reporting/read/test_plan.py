import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clr_hpc.reporting.read.plan import against_plan
from clr_hpc.reporting.read.study import ReportError, read_study
from clr_hpc.reporting.report import write_report
from clr_hpc.reporting.tables.plan import deviation_table, prediction_table, prediction_text

StudyMaker = Callable[..., Path]


def plan_for(folder: Path, **changes: Any) -> None:
    """Write a plan of all runs of a study, in one lane, 50 s of training each, made at noon."""
    runs = [
        {"name": run.name, "start": 60.0 * place, "end": 60.0 * (place + 1), "training_seconds": 50.0}
        for place, run in enumerate(sorted((folder / "runs").iterdir()))
    ]
    values = {
        "format_version": 1,
        "made": "2026-01-02T12:00:00.500+00:00",
        "place": "here",
        "makespan_seconds": 100.0,
        "lanes": [{"workers": 1, "gpus_per_worker": 0.0, "cpus_per_worker": 1, "runs": runs}],
    }
    (folder / "plan.json").write_text(json.dumps(values | changes))


def edit(file: Path, **changes: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def start_all(folder: Path, *starts: str) -> None:
    for file in folder.glob("runs/*/environment.json"):
        file.write_text(json.dumps([{"started": start} for start in starts]))


def test_a_report_compares_times_with_the_plan(make_study: StudyMaker) -> None:
    folder = make_study(("effusion",))
    plan_for(folder)
    start_all(folder, "2026-01-02T12:00:10+00:00")
    slow = next(folder.glob("runs/*/result.json"))
    edit(slow, seconds=100.0)
    prediction = against_plan(read_study(folder))
    assert prediction is not None
    assert sorted(run.ratio for run in prediction.runs) == pytest.approx([1.23, 1.23, 2.0])
    assert prediction.actual_makespan == pytest.approx(109.5)
    text = prediction_text(prediction)
    assert "3 runs in 1 lane (here): predicted makespan 1:40 min, actual 1:50 min, 1.09 times" in text
    assert "leaves out the last run's final evaluation" in text
    (row,) = prediction_table(prediction).rows
    assert [cell.text for cell in row] == ["MobileNetV1", "3", "2:30 min", "3:43 min", "1.23", "1.23", "2.00"]
    page = write_report(folder, "none")
    assert "Predicted against actual" in page.read_text()
    with (page.parent / "predicted.csv").open() as file:
        assert sorted(float(line["ratio"]) for line in csv.DictReader(file)) == pytest.approx([1.23, 1.23, 2.0])


def test_the_end_that_a_run_notes_is_its_end(make_study: StudyMaker) -> None:
    folder = make_study(("effusion",))
    plan_for(folder)
    start_all(folder, "2026-01-02T12:00:00+00:00", "2026-01-02T12:01:00+00:00")
    for file in folder.glob("runs/*/result.json"):
        edit(file, ended="2026-01-02T12:03:20.500+00:00")
    prediction = against_plan(read_study(folder))
    assert prediction is not None
    assert prediction.actual_makespan == 200
    assert prediction_text(prediction).endswith("2.00 times the prediction.")


@pytest.mark.parametrize(
    ("starts", "reason"),
    [
        ((), "did not record when they started"),
        (("2026-01-02T12:00:05+00:00", "2026-01-02T13:00:00+00:00"), "did not record when they started and ended"),
        (("2026-01-02T11:00:05+00:00",), "started before this plan was made"),
    ],
)
def test_a_makespan_that_is_not_known_says_why(
    starts: tuple[str, ...], reason: str, make_study: StudyMaker
) -> None:
    folder = make_study(("effusion",))
    plan_for(folder)
    if starts:
        start_all(folder, *starts)
    prediction = against_plan(read_study(folder))
    assert prediction is not None
    assert reason in prediction_text(prediction)
    assert len(prediction.runs) == 3, "training times are compared all the same"


def test_a_run_that_did_not_end_leaves_the_makespan_open(make_study: StudyMaker) -> None:
    folder = make_study(("effusion",))
    plan_for(folder)
    start_all(folder, "2026-01-02T12:00:10+00:00")
    next(folder.glob("runs/*/result.json")).unlink()
    prediction = against_plan(read_study(folder))
    assert prediction is not None
    assert len(prediction.runs) == 2
    assert "1 run of the plan did not end" in prediction_text(prediction)


def test_without_a_plan_there_is_no_section(make_study: StudyMaker) -> None:
    folder = make_study(("effusion",))
    assert against_plan(read_study(folder)) is None
    page = write_report(folder, "none")
    assert "Predicted against actual" not in page.read_text()
    assert "Recoveries" not in page.read_text()
    assert not (page.parent / "predicted.csv").exists()


@pytest.mark.parametrize("text", ['{"format_version": 2}', "{", "[1]"])
def test_a_damaged_plan_is_named(text: str, make_study: StudyMaker) -> None:
    folder = make_study(("effusion",))
    (folder / "plan.json").write_text(text)
    with pytest.raises(ReportError, match=r"plan\.json: .*; delete it"):
        read_study(folder)


def test_runs_with_lower_rates_or_smaller_batches_are_listed(make_study: StudyMaker) -> None:
    folder = make_study(("effusion",))
    first, second, third = sorted(folder.glob("runs/*/result.json"))
    edit(first, divergences=[{"samples": 320, "lr_max": 0.005}, {"samples": 640, "lr_max": 0.0025}])
    edit(second, micro_batches=4, divergences=[])
    edit(third, micro_batches=1, divergences=[])
    rows = {row[0].text: [cell.text for cell in row[1:]] for row in deviation_table(read_study(folder)).rows}
    assert rows == {
        first.parent.name: ["2", "0.0025", "0.01", "1"],
        second.parent.name: ["0", "0.01", "0.01", "4"],
    }
    assert "Runs with recoveries" in write_report(folder, "none").read_text()
