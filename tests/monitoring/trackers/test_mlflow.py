"""MLflow as its users have it: a server of its own, also one that dies in mid-study."""

import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from needs import need_package, skip_or_fail
from trial_study import TrialStudy, on_one_core, wait_until
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.base import UserError
from clr_hpc.monitoring.trackers.base import find_tracker
from clr_hpc.store.metrics import read_metrics

need_package("mlflow")
pytestmark = pytest.mark.commands
SERVER = "CLR_HPC_TEST_MLFLOW"


class Server:
    """``mlflow server`` of this machine alone; its database outlives it."""

    def __init__(self, program: str, folder: Path) -> None:
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.port = found.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._program, self._folder = program, folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [self._program, "server", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] = "false"  # a dozen processes that nothing here needs
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, start_new_session=True, env=environment, cwd=self._folder
            )
        wait_until(self.answers, "the server")

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            wait_until(lambda: not self.answers(), "its workers to end")

    def answers(self) -> bool:
        try:
            return bool(urllib.request.urlopen(f"{self.address}/health", timeout=5).status == 200)
        except OSError:
            return False

    def runs(self, study: str) -> dict[str, Any]:
        """Return the runs of a study by their names; none where the server doesn't know it."""
        from mlflow import MlflowClient

        client = MlflowClient(tracking_uri=self.address)
        experiment = client.get_experiment_by_name(study)
        found = [] if experiment is None else client.search_runs([experiment.experiment_id])
        assert len({run.info.run_name for run in found}) == len(found), "a run is there twice"
        return {run.info.run_name: run for run in found}

    def history(self, run: Any, tag: str) -> list[tuple[int, float]]:
        """Return the values of a metric with their steps."""
        from mlflow import MlflowClient

        found = MlflowClient(tracking_uri=self.address).get_metric_history(run.info.run_id, tag)
        return sorted((one.step, one.value) for one in found)


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    program = os.environ.get(SERVER, "")
    if not Path(program).is_file():
        skip_or_fail(f"no server of MLflow: {SERVER} names no program; .ci/run installs one")
    server = Server(program, tmp_path_factory.mktemp("mlflow"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture(autouse=True)
def _address(mlflow: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Name the server to this process and those that it starts, which add settings of MLflow's client."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    for name in ("MLFLOW_DISABLE_TELEMETRY", "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT"):
        monkeypatch.setenv(name, "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow.address)


def track(folder: Path) -> str:
    shown = CliRunner().invoke(app, ["track", str(folder), "--to", "mlflow"])
    assert shown.exit_code == 0, shown.stderr
    return shown.stdout


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_study_is_mirrored_once(invent_study: Callable[..., Any], mlflow: Server) -> None:
    study = invent_study()
    done, failed, stopped = study.runs[0], study.runs[1], study.runs[3]
    study.finish(done)
    study.fail(failed, "FloatingPointError: the loss is nan")
    study.stop(stopped, epochs=2.4, saved_at=1.0)
    (study.folder.path / "report").mkdir()
    (study.folder.path / "report" / "report.html").write_text("<p>the report")
    for _ in range(2):
        assert track(study.folder.path).startswith(
            f"mlflow: 3 of 3 runs and the report; {mlflow.address}/#/experiments/"
        )
        runs = mlflow.runs("invented")
        assert len(runs) == 4
        by_word = {word: next(run for name, run in runs.items() if word in name) for word in ("cosine", "control")}
        mirrored = next(run for name, run in runs.items() if "effusion baseline" in name)
        assert mirrored.info.status == "FINISHED"
        assert mirrored.data.params["lr max"] == "0.01"
        assert mirrored.data.metrics["final/test_auroc"] == 0.65
        steps = [line for line in read_metrics(study.path(done)) if line["kind"] == "step"]
        assert mlflow.history(mirrored, "training/loss") == [(one["samples"], one["loss"]) for one in steps]
        assert by_word["control"].info.status == "FAILED"
        assert by_word["control"].data.tags["clr_hpc.reason"] == "FloatingPointError: the loss is nan"
        begun = next(run for name, run in runs.items() if "edema baseline" in name)
        assert begun.info.status == "KILLED"
    study.finish(stopped, at=160)
    track(study.folder.path)
    begun = mlflow.runs("invented")[begun.info.run_name]
    assert begun.info.status == "FINISHED"
    assert [step for step, _ in mlflow.history(begun, "training/loss")] == list(range(32, 641, 32))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
def test_a_server_that_dies_stops_no_training(write_study: Callable[..., TrialStudy], mlflow: Server) -> None:
    # long enough on any machine that a round finds a run under way
    study = write_study(track=["mlflow"], training={"epochs": 10, "image_size": 32, "batch_size": 4})
    process = subprocess.Popen(
        study.command("--processes", "1"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=on_one_core,
    )
    wait_until(lambda: bool(mlflow.runs("trial")), "a run to be mirrored while it is trained")
    assert process.poll() is None
    mlflow.kill()
    _, complaints = process.communicate(timeout=600)
    assert process.returncode == 0, complaints
    assert "the study is not affected. Make up for it with: clr-hpc track" in complaints
    assert [result["status"] for result in study.results()] == ["done"] * 2
    mlflow.start()
    assert track(study.file.parent / "results" / "trial").startswith("mlflow: 2 of 2 runs; ")
    runs = mlflow.runs("trial")
    assert [run.info.status for run in runs.values()] == ["FINISHED"] * 2
    for folder in study.folders():
        (run,) = (run for run in runs.values() if run.data.params["run"] == folder.name)
        steps = [(one["samples"], one["loss"]) for one in read_metrics(folder) if one["kind"] == "step"]
        assert mlflow.history(run, "training/loss") == steps


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::ResourceWarning")
@pytest.mark.parametrize("lost", range(4))
def test_what_a_lost_request_held_is_sent_again(
    lost: int, invent_study: Callable[..., Any], mlflow: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mlflow import MlflowClient

    study = invent_study(name=f"lost-{lost}")
    study.finish(study.runs[0])
    send, sent = MlflowClient.log_batch, iter(range(100))

    def log_batch(client: MlflowClient, *args: Any, **named: Any) -> Any:
        if next(sent) == lost:
            raise ConnectionError("lost")
        return send(client, *args, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    shown = CliRunner().invoke(app, ["track", str(study.folder.path), "--to", "mlflow"])
    assert shown.exit_code == 1
    assert "ConnectionError: lost" in shown.output
    track(study.folder.path)
    (run,) = mlflow.runs(f"lost-{lost}").values()
    assert run.info.status == "FINISHED"
    assert run.data.params["lr max"] == "0.01"
    assert run.data.metrics["final/test_auroc"] == 0.65
    steps = [line for line in read_metrics(study.path(study.runs[0])) if line["kind"] == "step"]
    assert mlflow.history(run, "training/loss") == [(one["samples"], one["loss"]) for one in steps]


def test_a_folder_that_mlflow_refuses_is_a_mistake_before_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLFLOW_ALLOW_FILE_STORE", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"file:{tmp_path}/mlruns")
    with pytest.raises(UserError, match=r"mlruns: The filesystem .*; name a server or a database, such as sqlite"):
        find_tracker("mlflow").check()
