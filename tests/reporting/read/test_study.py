import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from clr_hpc.reporting.read.study import ReportError, RunRecord, read_study

StudyMaker = Callable[..., Path]


def first_run(folder: Path) -> Path:
    return folder / "runs" / read_study(folder).runs[0].spec.name


def reread(folder: Path) -> RunRecord:
    return read_study(folder).runs[0]


def test_all_that_a_done_run_left(make_study: StudyMaker) -> None:
    run = reread(make_study())
    assert run.status == "done"
    assert len(run.epochs) == 8  # four epochs of two splits
    assert run.progress[-1] == 4.0
    assert len(run.learning_rate) == 40
    assert run.images_per_second == 505.5
    assert set(run.predictions) == {"validation", "test"}
    assert 0 < run.predictions["test"].labels.mean() < 1
    assert run.layers["parameters"] == 4_900


def test_a_line_that_a_kill_cut_short_is_left_out(make_study: StudyMaker) -> None:
    folder = make_study()
    with (first_run(folder) / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "step", "samp')
    assert reread(folder).status == "done"
    assert len(reread(folder).progress) == 40


def test_states(make_study: StudyMaker) -> None:
    folder = make_study()
    run = first_run(folder)
    failed = {"status": "failed", "reason": "FloatingPointError: loss is nan", "samples": 9, "seconds": 1.0}
    (run / "result.json").write_text(json.dumps(failed))
    assert (reread(folder).status, reread(folder).reason) == ("failed", "FloatingPointError: loss is nan")
    (run / "result.json").unlink()
    assert reread(folder).status == "unfinished"
    shutil.rmtree(run)
    assert reread(folder).status == "missing"


@pytest.mark.parametrize("name", ["predictions.parquet", "metrics.jsonl", "result.json", "environment.json"])
def test_damage_in_one_run_is_that_runs_alone(make_study: StudyMaker, name: str) -> None:
    folder = make_study()
    (first_run(folder) / name).write_bytes(b"PAR1 damaged \xff\xfe\n")
    first, *others = read_study(folder).runs
    assert first.status == "failed"
    assert first.reason is not None
    assert "can't be read" in first.reason
    assert all(run.status == "done" for run in others)


def test_runs_of_an_earlier_version_of_the_study_are_named_and_not_mixed_in(make_study: StudyMaker) -> None:
    folder = make_study()
    study = folder / "study.yaml"
    study.write_text(study.read_text().replace("- effusion\n", ""))
    record = read_study(folder)
    assert {run.spec.task.name for run in record.runs} == {"pneumothorax"}
    assert [name.split(".")[0] for name in record.strangers] == ["effusion"] * 3


@pytest.mark.parametrize("name", ["study.yaml", "pack.json"])
def test_a_folder_that_is_no_studys_is_refused_with_the_files_name(make_study: StudyMaker, name: str) -> None:
    folder = make_study()
    (folder / name).write_text("[]")
    with pytest.raises(ReportError, match=name):
        read_study(folder)
    (folder / name).unlink()
    with pytest.raises(ReportError, match=f"{name} does not exist; 'clr-hpc run' makes"):
        read_study(folder)
