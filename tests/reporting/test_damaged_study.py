"""Damaged files of a study through what the commands call: every damage is named, and nothing else is raised."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from made_records import explanations
from mutation import damage_of, times

from clr_hpc.config.base import UserError
from clr_hpc.monitoring.status import State, StudyStatus
from clr_hpc.reporting.page.heat_maps import read_heat_maps
from clr_hpc.reporting.page.lr_range import read_range_tests
from clr_hpc.reporting.read.plan import against_plan
from clr_hpc.reporting.read.study import ReportError, read_study
from clr_hpc.reporting.report import write_report
from clr_hpc.store import layout
from clr_hpc.store.results import states_of_files
from clr_hpc.store.study_folder import StudyFolder

StudyMaker = Callable[..., Path]
IN_A_RUN = (
    layout.RESULT,
    layout.SPEC,
    layout.ENVIRONMENT,
    layout.METRICS,
    layout.ARCHITECTURE,
    layout.PREDICTIONS,
)
OF_A_STUDY = (layout.STUDY, layout.PACK, layout.PLAN, layout.RANGE_TEST_RESULTS, layout.EXPLANATIONS)
FEW = times(12)


@pytest.fixture
def folder(make_study: StudyMaker) -> Path:
    """Return a study of two small runs whose results name their files."""
    folder = make_study(("effusion",), skill={"constant": 0.6, "triangular": 1.4})
    for run in (folder / layout.RUNS).iterdir():
        result = json.loads((run / layout.RESULT).read_text())
        (run / layout.RESULT).write_text(json.dumps(result | {"files": states_of_files(run)}))
    plan = {"format_version": 1, "made": "2026-01-02T12:00:00+00:00", "place": "here", "makespan_seconds": 1.0}
    (folder / layout.PLAN).write_text(json.dumps(plan | {"lanes": []}))
    (folder / layout.RANGE_TEST_RESULTS).write_text(json.dumps({"format_version": 1, "learners": []}))
    (folder / layout.EXPLANATIONS).write_text(json.dumps(explanations("effusion")))
    return folder


@pytest.mark.parametrize("name", IN_A_RUN)
def test_damage_in_a_run_is_named_by_all_and_costs_that_run_alone(name: str, folder: Path) -> None:
    study = StudyFolder(folder)
    specs = study.started().runs
    file = study.runs / specs[0].name / name
    sound = file.read_bytes()
    reported = set()

    @FEW
    @given(damage_of(name)(sound))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        status = StudyStatus(study).read()
        remaining = study.remaining(specs)
        record, other = read_study(folder).runs
        assert (status[1].state, other.status) == (State.DONE, "done")
        assert specs[1] not in remaining.runs
        if name in (layout.METRICS, layout.PREDICTIONS) and content != sound:
            assert remaining.runs == (specs[0],)
        if name == layout.RESULT and status[0].state == State.FAILED and remaining.damaged:
            assert layout.RESULT in str(status[0].reason)
        for damaged in remaining.damaged:
            assert record.status == "failed"
            assert damaged.reason in str(record.reason)
        # the page is drawn from what was read: one for each outcome, since it takes longer than all else here
        if (outcome := (record.status, bool(record.reason), len(record.progress))) not in reported:
            write_report(folder, "none")
            reported.add(outcome)

    check()


@pytest.mark.parametrize("name", OF_A_STUDY)
def test_damage_of_a_study_is_an_error_that_names_the_file(name: str, folder: Path) -> None:
    file = folder / name
    sound = file.read_bytes()

    @FEW
    @given(damage_of(name)(sound))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        for command in (
            lambda: StudyStatus(StudyFolder(folder)).read(),
            lambda: against_plan(read_study(folder)),
            lambda: read_range_tests(folder),
            lambda: read_heat_maps(folder, ""),
        ):
            named(command, name)

    check()
    file.unlink()
    file.mkdir()
    with pytest.raises(ReportError, match=name):
        write_report(folder, "none")


def named(command: Callable[[], object], name: str) -> None:
    """Call what may fail by a damaged file, but by no other error."""
    error = None
    try:
        command()
    except UserError as raised:
        error = raised
    assert error is None or name in str(error)


def test_damaged_lines_of_a_run_from_before_there_were_checksums_are_said(folder: Path) -> None:
    run = next((folder / layout.RUNS).iterdir())
    result = json.loads((run / layout.RESULT).read_text())
    del result["files"]
    (run / layout.RESULT).write_text(json.dumps(result))
    lines = (run / layout.METRICS).read_text().splitlines()
    (run / layout.METRICS).write_text("\n".join([lines[0][:-5], *lines[1:]]) + "\n")
    record = next(record for record in read_study(folder).runs if record.spec.name == run.name)
    assert record.status == "done"
    assert len(record.progress) == 39
    assert record.reason is not None
    assert "1 damaged line is left out" in record.reason
    assert "line 1 can&#39;t be read" in write_report(folder, "none").read_text()
    (run / layout.RESULT).unlink()
    record = next(record for record in read_study(folder).runs if record.spec.name == run.name)
    assert record.status == "unfinished"
    assert str(record.reason).startswith("no result.json: running or interrupted; 1 damaged line is left out: ")


def test_a_study_from_before_there_were_checksums_reads_as_before(make_study: StudyMaker) -> None:
    folder = make_study(("effusion",))
    study = StudyFolder(folder)
    specs = study.started().runs
    assert all("files" not in json.loads(file.read_text()) for file in folder.glob("runs/*/result.json"))
    assert {status.state for status in StudyStatus(study).read()} == {State.DONE}
    assert study.remaining(specs).runs == study.remaining(specs).damaged == ()
    record = read_study(folder)
    assert {(run.status, run.reason) for run in record.runs} == {("done", None)}
    assert all(run.predictions for run in record.runs)
    write_report(folder, "none")
