"""``clr-hpc tensorboard``: the folder it makes, and the real server's answers about it."""

import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from listening import listening_of
from PIL import Image

from clr_hpc.monitoring.tensorboard import LAYOUT_FILE, TensorBoardView, _choices_that_differ, view_names

StudyMaker = Callable[..., Any]
WAIT_SECONDS = 60


def links(view: TensorBoardView) -> dict[str, Path]:
    return {str(path.relative_to(view.path)): path.resolve() for path in view.path.rglob("*") if path.is_symlink()}


def test_runs_have_readable_names(invent_study: StudyMaker) -> None:
    study = invent_study()
    view = TensorBoardView(study.folder)
    view.refresh()
    assert links(view) == {}
    for spec in study.runs[:3]:
        study.stop(spec, epochs=1, saved_at=1)
    view.refresh()
    names = ("cosine.baseline", "cosine.control", "triangular.retrain")
    assert links(view) == {
        f"effusion/mobilenet_v1/sgd/{name}.seed0": study.path(spec).resolve()
        for name, spec in zip(names, study.runs[:3], strict=True)
    }


def test_names_that_would_be_the_same_have_ids(invent_study: StudyMaker) -> None:
    waves = [{"name": "triangular", "half_cycle_epochs": epochs} for epochs in (1, 2)]
    study = invent_study(pathologies=["effusion"], stages={"scratch": {"policies": [*waves, "constant"]}})
    first, second, constant = study.runs
    assert {name: str(place) for name, place in view_names(study.runs).items()} == {
        first.name: f"effusion/mobilenet_v1/sgd/triangular.scratch.seed0.{first.run_id[:6]}",
        second.name: f"effusion/mobilenet_v1/sgd/triangular.scratch.seed0.{second.run_id[:6]}",
        constant.name: "effusion/mobilenet_v1/sgd/constant.scratch.seed0",
    }


def test_a_full_disk_is_an_error_of_the_next_call_and_prints_nothing(
    invent_study: StudyMaker, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread
    from tensorboard.summary.writer.record_writer import RecordWriter

    from clr_hpc.store.events import RunEvents

    def fill_the_disk(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    events = RunEvents.begin(tmp_path, invent_study().runs[0], 0)
    monkeypatch.setattr(RecordWriter, "write", fill_the_disk)
    events.step(8, {"loss": 1.0})
    (thread,) = [each for each in threading.enumerate() if isinstance(each, _AsyncWriterThread)]
    thread.join(WAIT_SECONDS)
    with pytest.raises(OSError, match="No space left"):
        events.step(16, {"loss": 1.0})
    assert capfd.readouterr().err == ""


def test_settings_are_compared_where_the_policy_does_not_say_them(invent_study: StudyMaker) -> None:
    assert set(_choices_that_differ(invent_study().runs)) == {"task", "stage", "policy"}


def test_policies_that_differ_in_settings_alone(invent_study: StudyMaker) -> None:
    waves = [{"name": "triangular", "half_cycle_epochs": epochs} for epochs in (1, 2)]
    study = invent_study(pathologies=["effusion"], stages={"scratch": {"policies": [*waves, "constant"]}})
    differing = _choices_that_differ(study.runs)
    assert differing["policy settings"] == {
        "lr min 0.001, half cycle epochs 1",
        "lr min 0.001, half cycle epochs 2",
        "none",
    }


def test_refreshed_again_nothing_is_written(invent_study: StudyMaker) -> None:
    study = invent_study()
    study.stop(study.runs[0], epochs=1, saved_at=1)
    TensorBoardView(study.folder).refresh()
    before = {path: path.lstat().st_mtime_ns for path in (study.folder.path / "tensorboard").rglob("*")}
    TensorBoardView(study.folder).refresh()
    assert {path: path.lstat().st_mtime_ns for path in before} == before


def test_a_study_that_was_moved_and_changed(invent_study: StudyMaker, tmp_path: Path) -> None:
    study = invent_study()
    for spec in study.runs:
        study.stop(spec, epochs=1, saved_at=1)
    view = TensorBoardView(study.folder)
    view.refresh()
    layout = (view.path / LAYOUT_FILE).read_bytes()
    moved = tmp_path / "moved"
    shutil.move(study.folder.path, moved)
    assert (moved / "tensorboard/effusion/mobilenet_v1/sgd/cosine.baseline.seed0/spec.json").exists()
    shutil.move(moved, study.folder.path)
    study.folder.prepare(study.study.model_copy(update={"pathologies": ("edema",)}), tmp_path / "pack")
    view.refresh()
    assert {Path(name).parts[0] for name in links(view)} == {"edema"}
    assert (view.path / LAYOUT_FILE).read_bytes() != layout


class Server:
    """``clr-hpc tensorboard`` as a user starts it."""

    def __init__(self, study: Any) -> None:
        command = ["tensorboard", str(study.file), "--results", str(study.results), "--port", "0"]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "clr_hpc", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )
        assert self.process.stdout is not None
        self.first_lines = [self.process.stdout.readline() for _ in range(2)]
        found = re.search(r"http://127\.0\.0\.1:(\d+)/", self.first_lines[0])
        assert found, self.first_lines[0] + self.process.stdout.read()
        self.address, self.port = found[0], found[1]

    def get(self, path: str, **query: str) -> Any:
        """Return what the server says in JSON."""
        url = f"{self.address}data/{path}?{urllib.parse.urlencode(query)}"
        return json.load(urllib.request.urlopen(url, timeout=WAIT_SECONDS))

    def post(self, path: str, values: dict[str, Any]) -> Any:
        """Send JSON and return what the server says in JSON."""
        request = urllib.request.Request(
            f"{self.address}data/{path}", json.dumps(values).encode(), {"Content-Type": "application/json"}
        )
        return json.load(urllib.request.urlopen(request, timeout=WAIT_SECONDS))

    def wait_for_runs(self, runs: set[str]) -> None:
        """Wait until it has read these runs, and the metrics that end a run."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not runs <= {
            run for run, tags in self.get("plugin/scalars/tags").items() if "final/seconds" in tags
        }:
            assert time.monotonic() < deadline, f"it has {self.get('runs')}, not {runs}"
            time.sleep(0.2)


@pytest.fixture(scope="module")
def served(study_in: Callable[..., Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Server]]:
    """A study of two findings, one of which is done, and a server on it."""
    study = study_in(tmp_path_factory.mktemp("study"))
    baseline, control, retrained, *_ = study.runs
    study.stop(baseline, epochs=2.4, saved_at=2.2)
    study.finish(baseline, at=352)
    study.stop(control, epochs=2.4, saved_at=None)
    study.finish(control)
    study.finish(retrained)
    server = Server(study)
    try:
        server.wait_for_runs(set(RUNS))
        yield study, server
    finally:
        server.process.kill()
        server.process.communicate()


RUNS = [
    f"effusion/mobilenet_v1/sgd/{name}.seed0"
    for name in ("cosine.baseline", "cosine.control", "triangular.retrain")
]


def test_it_says_where_it_is_and_how_to_reach_it_from_elsewhere(served: tuple[Any, Server]) -> None:
    _, server = served
    assert re.fullmatch(r"TensorBoard: http://127\.0\.0\.1:\d+/ \(Ctrl-C ends it\)\n", server.first_lines[0])
    assert f"ssh -N -L {server.port}:127.0.0.1:{server.port} " in server.first_lines[1]
    sockets = listening_of(server.process)
    assert f"127.0.0.1:{server.port}" in sockets
    assert all(address.startswith("127.0.0.1:") for address in sockets), "also its reader of event files"


def test_it_has_the_runs_and_their_tags(served: tuple[Any, Server]) -> None:
    _, server = served
    tags = {run: set(of_run) for run, of_run in server.get("plugin/scalars/tags").items()}
    per_split = {f"{name}/{split}" for name in MEASURES for split in ("train", "validation")}
    per_step = {f"training/{name}" for name in ("loss", "lr", "momentum", "gradient_norm", "images_per_second")}
    per_task = {f"task/effusion/{name}" for name in ("validation_auroc", "validation_loss", "learning_rate")}
    assert tags == {run: per_split | per_step | per_task | {"final/test_auroc", "final/seconds"} for run in RUNS}


MEASURES = ("loss", "accuracy", "auroc", "average_precision")


@pytest.mark.parametrize("run", RUNS[:2])
def test_after_a_resume_no_step_is_there_twice(run: str, served: tuple[Any, Server]) -> None:
    """One went on from a checkpoint, the other from its beginning."""
    study, server = served
    event_files = list((study.folder.path / "tensorboard" / run).glob("events.*"))
    assert len(event_files) == 2, "one a start"
    points = server.get("plugin/scalars/scalars", run=run, tag="training/loss")
    assert [step for _, step, _ in points] == list(range(32, 4 * 160 + 1, 32))
    points = server.get("plugin/scalars/scalars", run=run, tag="auroc/validation")
    assert [step for _, step, _ in points] == [160, 320, 480, 640]


def test_one_chart_has_the_policies_of_one_pathology(served: tuple[Any, Server]) -> None:
    _, server = served
    layout = server.get("plugin/custom_scalars/layout")
    charts = {section["title"]: [chart["title"] for chart in section["chart"]] for section in layout["category"]}
    quantities = ("validation AUROC", "validation loss", "learning rate")
    assert charts == {task: [f"{task}: {quantity}" for quantity in quantities] for task in ("Effusion", "Edema")}
    for section, points_a_run in ((0, (4, 4, 20)), (1, (0, 0, 0))):
        for chart, expected in zip(layout["category"][section]["chart"], points_a_run, strict=True):
            (tag,) = chart["multiline"]["tag"]
            for run in RUNS:
                drawn = server.get("plugin/custom_scalars/scalars", run=run, tag=tag)["tag_to_events"]
                assert sum(map(len, drawn.values())) == expected


def test_hyperparameters_are_what_differs_and_all_runs_have_them(served: tuple[Any, Server]) -> None:
    _, server = served
    experiment = server.post("plugin/hparams/experiment", {"experimentName": ""})
    columns = [column["name"] for column in experiment["hparamInfos"]]
    assert columns == ["task", "policy", "stage"]
    metrics = [metric["name"] for metric in experiment["metricInfos"]]
    asked = {
        "experimentName": "",
        "allowedStatuses": ["STATUS_SUCCESS"],
        "colParams": [{"hparam": name} for name in columns] + [{"metric": name} for name in metrics],
        "startIndex": 0,
        "sliceSize": 10,
    }
    groups = server.post("plugin/hparams/session_groups", asked)["sessionGroups"]
    assert sorted((group["hparams"]["stage"], group["hparams"]["policy"]) for group in groups) == [
        ("baseline", "cosine"),
        ("control", "cosine"),
        ("retrain", "triangular"),
    ]
    values = [{metric["name"]["tag"]: metric["value"] for metric in group["metricValues"]} for group in groups]
    assert all(set(of_run) == {metric["tag"] for metric in metrics} for of_run in values)
    for of_run in values:
        assert (of_run["final/test_auroc"], of_run["final/seconds"]) == (pytest.approx(0.65), 16.0)


def test_precision_recall_and_inputs(served: tuple[Any, Server]) -> None:
    _, server = served
    tag = "precision_recall/effusion/validation"
    curves = server.get("plugin/pr_curves/pr_curves", run=RUNS[0], tag=tag)[RUNS[0]]
    assert [curve["step"] for curve in curves] == [160, 320, 480, 640]
    assert max(curves[-1]["recall"]) == 1
    (images,) = server.get("plugin/images/images", run=RUNS[0], tag="inputs")
    assert images["step"] == 0
    with urllib.request.urlopen(
        f"{server.address}data/plugin/images/individualImage?{images['query']}"
    ) as picture:
        assert Image.open(picture).size == (4 * 8, 8)


@pytest.mark.commands
def test_new_runs_appear_and_ctrl_c_leaves_no_process(invent_study: StudyMaker) -> None:
    study = invent_study()
    study.finish(study.runs[0])
    server = Server(study)
    try:
        server.wait_for_runs({RUNS[0]})
        study.finish(study.runs[3])
        server.wait_for_runs({"edema/mobilenet_v1/sgd/cosine.baseline.seed0"})
        children = subprocess.run(
            ["pgrep", "-P", str(server.process.pid)], capture_output=True, text=True, check=False
        )
        server.process.send_signal(signal.SIGINT)
        output, _ = server.process.communicate(timeout=WAIT_SECONDS)
    finally:
        server.process.kill()
    assert (server.process.returncode, output) == (0, "")
    deadline = time.monotonic() + WAIT_SECONDS
    while any(Path(f"/proc/{child}").exists() for child in children.stdout.split()):
        assert time.monotonic() < deadline, f"one of {children.stdout.split()} is left"
        time.sleep(0.05)


def test_a_port_that_is_taken_is_told(served: tuple[Any, Server]) -> None:
    study, server = served
    command = ["tensorboard", str(study.file), "--results", str(study.results), "--port", server.port]
    shown = subprocess.run(
        [sys.executable, "-m", "clr_hpc", *command],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert shown.returncode == 2
    assert "already in use; --port 0 takes a free port" in " ".join(shown.stderr.split())


def test_the_loader_without_the_data_server_follows_the_links(served: tuple[Any, Server]) -> None:
    """It is what TensorBoard uses with --load_fast=false, and where no data server is built for the machine."""
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer

    study, _ = served
    runs = EventMultiplexer().AddRunsFromDirectory(str(study.folder.path / "tensorboard"))
    runs.Reload()
    assert set(RUNS) <= set(runs.Runs())
    for run in RUNS:
        steps = [event.step for event in runs.Tensors(run, "training/loss")]
        assert steps == list(range(32, 4 * 160 + 1, 32))
