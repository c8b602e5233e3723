"""A study's command is told how training ended, and can stop nothing."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
from trial_study import is_alive, wait_until

from clr_hpc.config.base import UserError
from clr_hpc.config.expand import expand
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.places import notify as notification
from clr_hpc.places.base import Ended, Events, Place, Submitted, TrainingJob
from clr_hpc.places.notify import check_command, train_and_notify
from clr_hpc.places.options import TrainingOptions
from clr_hpc.store.study_folder import StudyFolder

WRITES = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"


class Pretended(Place):
    """A place where training comes to what a test wants."""

    name = "pretended"

    def __init__(self, outcome: Callable[[], Ended | Submitted]) -> None:
        self._outcome = outcome

    def describe(self, job: TrainingJob, events: Events) -> None: ...

    def run(self, job: TrainingJob, events: Events) -> Ended | Submitted:  # noqa: ARG002
        return self._outcome()


def job(tmp_path: Path, command: str | None, **changes: Any) -> TrainingJob:
    study = load_study(Path("quickstart")).model_copy(update={"notify": command, **changes})
    folder = StudyFolder(tmp_path / "results" / "quickstart")
    return TrainingJob(study, "0" * 64, folder, expand(study, "0" * 64), TrainingOptions(results=tmp_path))


def train(outcome: Callable[[], Ended | Submitted], of: TrainingJob) -> None:
    train_and_notify(Pretended(outcome), of, cast(Events, None))


def raises(error: BaseException) -> Callable[[], Ended]:
    def run() -> Ended:
        raise error

    return run


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (lambda: Ended(is_complete=True), "failed"),
        (lambda: Ended(is_complete=False), "stopped"),
        (raises(KeyboardInterrupt()), "stopped"),
        (raises(OSError("the cluster is gone")), "failed"),
        (Submitted, None),
    ],
)
def test_the_command_is_told_how_it_ended(
    outcome: Callable[[], Ended | Submitted], status: str | None, tmp_path: Path
) -> None:
    told = tmp_path / "told of 'it'.json"
    script = tmp_path / "script.py"
    script.write_text(WRITES)
    try:
        train(outcome, job(tmp_path, f'{sys.executable} {script} "{told}"'))
    except (KeyboardInterrupt, OSError):
        assert status in ("stopped", "failed")
    if status is None:
        assert not told.exists(), "the jobs have not ended"
        return
    found = json.loads(told.read_text())
    assert found["CLR_HPC_STATUS"] == status, "no run is done"
    assert found["CLR_HPC_STUDY"] == "quickstart"
    assert found["CLR_HPC_FOLDER"] == str(tmp_path / "results" / "quickstart")
    assert found["CLR_HPC_REPORT"].endswith("quickstart/report/report.html")
    assert (found["CLR_HPC_RUNS"], found["CLR_HPC_RUNS_DONE"]) == ("6", "0")


@pytest.mark.parametrize(
    ("command", "warning"),
    [
        ("/absent/program", "No such file"),
        (f"{sys.executable} -c 'raise SystemExit(\"my own words\")'", "exit code 1: my own words"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", "exit code 3: it printed nothing"),
        ("sleep 60", "timed out"),
        (f"{sys.executable} -c 'print(\"$HOME | cat\")'", ""),
    ],
)
def test_a_command_that_fails_stops_nothing(
    command: str, warning: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notification, "TIMEOUT_SECONDS", 0.5 if "sleep" in command else 30)
    train(lambda: Ended(is_complete=True), job(tmp_path, command))
    assert warning in caplog.text
    assert bool(caplog.text) == bool(warning)


def test_what_a_command_has_started_ends_with_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    child_file, communicate = tmp_path / "child", subprocess.Popen.communicate

    def when_it_has_started(process: subprocess.Popen[str], timeout: float) -> tuple[str, str]:
        wait_until(lambda: child_file.exists() and child_file.read_text().endswith("\n"), "the script's child")
        return communicate(process, timeout=timeout)

    monkeypatch.setattr(subprocess.Popen, "communicate", when_it_has_started)
    monkeypatch.setattr(notification, "TIMEOUT_SECONDS", 0.1)
    script = tmp_path / "script.sh"
    script.write_text(f"sleep 600 & echo $! > {child_file}; wait\n")
    train(lambda: Ended(is_complete=True), job(tmp_path, f"sh {script}"))
    assert "timed out" in caplog.text
    child = int(child_file.read_text())
    deadline = time.monotonic() + 10
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_alive(child)


def test_a_command_that_is_not_there_is_a_mistake_before_training() -> None:
    quickstart = load_study(Path("quickstart"))
    check_command(quickstart)
    check_command(quickstart.model_copy(update={"notify": f"{sys.executable} absent.py"}))
    with pytest.raises(UserError, match=r"notify=mial me: no program of that name .* correct the name"):
        check_command(quickstart.model_copy(update={"notify": "mial me"}))


def test_what_is_no_command_is_a_mistake() -> None:
    for given in ("mail 'me", " "):
        with pytest.raises(StudyError, match="notify"):
            load_study(Path("quickstart"), (f'notify="{given}"',))
