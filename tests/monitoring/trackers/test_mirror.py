"""What a tracker gets of a study, with a tracker from another package that keeps it in a file."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from trial_study import TrialStudy, is_alive
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.base import UserError
from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.plugins import plugins
from clr_hpc.monitoring.status import State
from clr_hpc.monitoring.trackers.base import Mark, Tracker, find_tracker
from clr_hpc.monitoring.trackers.follow import Follower, followed
from clr_hpc.monitoring.trackers.mirror import Mirror
from clr_hpc.monitoring.trackers.read import TrackedRun

StudyMaker = Callable[..., Any]
DIARY = """
import json, os, time
from clr_hpc.monitoring.trackers.base import Mark, Tracker

class Diary(Tracker):
    name = "diary"

    def open(self, study, study_id, folder):
        if os.environ.get("DIARY") == "hangs":
            time.sleep(1000)
        self.file = folder / "diary.jsonl"
        lines = self.file.read_text().splitlines() if self.file.exists() else []
        return {one["key"]: Mark(one["samples"], one["state"]) for one in map(json.loads, lines)}

    def write(self, run):
        with self.file.open("a") as file:
            file.write(json.dumps({"key": run.key, "samples": run.samples, "state": run.state}) + "\\n")

    def write_report(self, files, digest):
        pass
"""


class Shelf(Tracker):
    """A tracker in memory that can be away, and that rejects some runs."""

    name = "shelf"

    def __init__(self) -> None:
        self.written: dict[str, list[TrackedRun]] = {}
        self.reports: list[Mapping[str, Path]] = []
        self.is_away = False
        self.rejected = ""
        self.opened = 0

    def open(self, study: str, study_id: str, folder: Path) -> dict[str, Mark]:  # noqa: ARG002
        self.opened += 1
        if self.is_away:
            raise RuntimeError("no answer") from ConnectionRefusedError(111, "Connection refused")
        return {key: Mark(parts[-1].samples, parts[-1].state) for key, parts in self.written.items()}

    def write(self, run: TrackedRun) -> None:
        if self.is_away or (self.rejected and self.rejected in run.key):
            raise RuntimeError(f"{run.name} is not taken")
        self.written.setdefault(run.key, []).append(run)

    def write_report(self, files: Mapping[str, Path], digest: str) -> None:  # noqa: ARG002
        self.reports.append(files)

    def points(self, word: str) -> list[int]:
        """Return all points of a run whose key has a word, as they came."""
        (parts,) = [parts for key, parts in self.written.items() if word in key]
        return [point.samples for part in parts for point in part.points]


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def track(study: Any, *options: str) -> Result:
    return CliRunner().invoke(app, ["track", str(study.file), "--results", str(study.results), *options])


def leave_report(study: Any, text: str = "the report") -> None:
    folder = study.folder.path / "report"
    folder.mkdir(exist_ok=True)
    (folder / "report.html").write_text(text)
    (folder / "runs.csv").write_text("run\n")
    (folder / ".runs.csv.1.temporary").write_text("")


def test_a_second_round_writes_nothing_twice(invent_study: StudyMaker, shelf: Shelf) -> None:
    study = invent_study()
    study.finish(study.runs[0])
    study.fail(study.runs[1], "FloatingPointError: the loss is nan")
    with Mirror(study.folder, shelf) as mirror:
        assert str(mirror.round()) == "shelf: 2 of 2 runs"
        written = {key: len(parts) for key, parts in shelf.written.items()}
        assert mirror.round().is_complete
        assert not mirror.is_over, "four runs wait"
    with Mirror(study.folder, shelf) as mirror:
        assert mirror.round().is_complete
    assert {key: len(parts) for key, parts in shelf.written.items()} == written
    done, failed = (part for (part,) in shelf.written.values())
    assert done.points[0].values == {
        "epoch": 0.2,
        "training/loss": 5.0,
        "training/lr": 0.01,
        "training/momentum": 0.9,
        "training/gradient_norm": 2.0,
        "training/images_per_second": 50.0,
    }
    assert done.points[-1].values["auroc/validation"] == 0.9
    assert done.final["final/test_auroc"] == 0.65
    assert done.params["policy"] == "cosine"
    assert (failed.state, failed.reason) == (State.FAILED, "FloatingPointError: the loss is nan")


def test_metrics_on_a_sample_are_no_metrics_on_the_split(invent_study: StudyMaker, shelf: Shelf) -> None:
    study = invent_study()
    study.of_sample = {"of_images": 9000}
    study.finish(study.runs[0])
    with Mirror(study.folder, shelf) as mirror:
        mirror.round()
    ((run,),) = shelf.written.values()
    last = run.points[-1].values
    assert last["accuracy/train_sample"] == last["accuracy/validation"]
    assert "accuracy/train" not in last
    result = json.loads((study.path(study.runs[0]) / "result.json").read_text())
    assert run.final["accuracy/train"] == result["train"]["accuracy"]


def test_a_run_that_stops_and_resumes_is_written_once(invent_study: StudyMaker, shelf: Shelf) -> None:
    study = invent_study()
    run = study.runs[0]
    with Mirror(study.folder, shelf) as mirror:
        with study.begin(run, epochs=2.0):
            mirror.round()
        steps = list(range(32, 640 + 1, 32))
        assert shelf.points("baseline") == steps[:9], "more may come to the last, which ends an epoch"
        study.stop(run, epochs=2.4, saved_at=1.0)
        mirror.round()
        study.finish(run, at=160)
        mirror.round()
    assert shelf.points("baseline") == steps
    assert [part.state for part in next(iter(shelf.written.values()))] == ["running", "stopped", "done"]


def test_a_run_that_is_trained_anew_is_another_one(invent_study: StudyMaker, shelf: Shelf) -> None:
    study = invent_study()
    study.finish(study.runs[0])
    environment = study.path(study.runs[0]) / "environment.json"
    for began in ("2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"):
        environment.write_text(json.dumps([{"started": began}, {"started": "2026-03-01T00:00:00+00:00"}]))
        with Mirror(study.folder, shelf) as mirror:
            mirror.round()
    assert [key.partition("@")[2][:10] for key in shelf.written] == ["2026-01-01", "2026-02-01"]


def test_a_tracker_that_was_away_gets_everything_later(invent_study: StudyMaker, shelf: Shelf) -> None:
    study = invent_study()
    for run in study.runs[:5]:
        study.finish(run)
    leave_report(study)
    shelf.is_away = True
    with Mirror(study.folder, shelf) as mirror:
        found = mirror.round()
        assert str(found) == (
            "shelf: 0 of 5 runs, not the report; ConnectionRefusedError: [Errno 111] Connection refused"
        )
        assert shelf.opened == 1, "one try a round"
        shelf.is_away, shelf.rejected = False, study.runs[1].name
        found = mirror.round()
        assert (found.complete, found.has_report) == (4, False), "the others come after one that is rejected"
        shelf.rejected = ""
        assert mirror.round().is_complete
    assert all(len(parts) == 1 for parts in shelf.written.values())
    (report,) = shelf.reports
    assert report.keys() == {"report.html", "runs.csv"}


def test_a_report_is_written_again_when_it_has_changed(invent_study: StudyMaker, shelf: Shelf) -> None:
    study = invent_study()
    study.finish(study.runs[0])
    with Mirror(study.folder, shelf) as mirror:
        assert mirror.round().has_report is None
        leave_report(study)
        mirror.round()
        mirror.round()
        assert len(shelf.reports) == 1
        leave_report(study, "another")
        mirror.round()
        assert len(shelf.reports) == 2


def test_two_processes_do_not_mirror_at_once(invent_study: StudyMaker, shelf: Shelf) -> None:
    study = invent_study()
    with Mirror(study.folder, shelf), pytest.raises(UserError, match="another process mirrors"):  # noqa: SIM117
        with Mirror(study.folder, Shelf()):
            pass


def test_runs_do_not_depend_on_trackers(invent_study: StudyMaker) -> None:
    study = invent_study()
    tracked = study.study.model_copy(update={"track": ("mlflow",)})
    assert expand(tracked, "c0ffee" + "0" * 58) == study.runs
    assert study.folder.change_to(tracked) is None


def test_a_tracker_that_is_not_there_is_named(invent_study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    study = invent_study()
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    shown = track(study, "--to", "mlflo")
    assert (shown.exit_code, "did you mean 'mlflow'?" in shown.stderr) == (2, True)
    shown = track(study)
    assert (shown.exit_code, "names no tracker; add --to mlflow" in shown.stderr) == (2, True)
    shown = track(study, "--to", "mlflow")
    assert (shown.exit_code, "MLFLOW_TRACKING_URI is not set" in shown.stderr) == (2, True)


def test_nothing_is_trained_where_the_tracker_is_not_set_up(
    write_study: Callable[..., TrialStudy], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    study = write_study(track=["mlflow"])
    shown = study.answer()
    assert (shown.exit_code, "MLFLOW_TRACKING_URI is not set" in shown.stderr) == (2, True)
    assert not study.folders()


@pytest.fixture
def diary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Install a package with a tracker, for this process and those that it starts."""
    package = tmp_path / "package"
    info = package / "diary-1.0.dist-info"
    info.mkdir(parents=True)
    (package / "diary.py").write_text(DIARY)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: diary\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[clr_hpc.trackers]\ndiary = diary:Diary\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(package), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.syspath_prepend(package)
    plugins.cache_clear()
    yield
    plugins.cache_clear()


@pytest.mark.usefixtures("diary")
def test_a_package_adds_a_tracker(invent_study: StudyMaker) -> None:
    study = invent_study(track=["diary"])
    assert load_study(study.file).track == ("diary",)
    study.finish(study.runs[0])
    assert find_tracker("diary").name == "diary"
    for _ in range(2):
        shown = track(study)
        assert (shown.exit_code, shown.stdout) == (0, "diary: 1 of 1 run\n"), shown.stderr
    assert len((study.folder.path / "trackers" / "diary.jsonl").read_text().splitlines()) == 1


@pytest.mark.usefixtures("diary")
def test_a_process_mirrors_until_the_command_ends(invent_study: StudyMaker) -> None:
    study = invent_study()
    with followed(study.folder.path, ["diary"]) as follower:
        study.finish(study.runs[0])
        (found,) = follower.finish()
    assert str(found) == "diary: 1 of 1 run"


@pytest.mark.usefixtures("diary")
def test_a_tracker_that_hangs_is_given_up(invent_study: StudyMaker, monkeypatch: pytest.MonkeyPatch) -> None:
    study = invent_study()
    study.finish(study.runs[0])
    monkeypatch.setenv("DIARY", "hangs")
    follower = Follower(study.folder.path, ["diary"])
    (found,) = follower.finish(seconds=1)
    assert replace(found, reason=None) == replace(found, runs=0, complete=0, has_report=None, reason=None)
    assert found.reason == "no answer within 1 s"
    assert not is_alive(follower.process_id)
