"""What an allocation trains, and how it begins; tests/integration has it on a SLURM."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from clr_hpc.places.job import WorkerTask
from clr_hpc.places.signals import StopSignals
from clr_hpc.places.slurm.allocation.driver import Driver, DriverTask, Message
from clr_hpc.places.slurm.allocation.launch import follow, left_to_train
from clr_hpc.places.slurm.allocation.rendezvous import Rendezvous
from clr_hpc.places.slurm.job import JobError, StartedJob
from clr_hpc.places.slurm.ledger import Ledger, Submission, new_token
from clr_hpc.places.slurm.sbatch import log_files
from clr_hpc.store.provenance import source_sha256
from clr_hpc.training.run import RunSettings

StudyMaker = Callable[..., Any]
START = """
import sys
from clr_hpc.places.slurm.allocation.launch import Allocation
print(Allocation(sys.argv[1], sys.argv[2])())
"""


@pytest.fixture
def study(invent_study: StudyMaker) -> Any:
    return invent_study()


@pytest.fixture
def job(study: Any) -> Iterator[StartedJob]:
    """An allocation that was given all runs of a study."""
    heard = {number: signal.getsignal(number) for number in (signal.SIGUSR2, signal.SIGTERM)}
    ledger = Ledger(study.folder.path.absolute())
    ledger.prepare()
    token, name = new_token("invented")
    submission = Submission(
        *(
            token,
            name,
            "2026-01-01T00:00:00+00:00",
            "submitted",
            (tuple(spec.name for spec in study.runs),),
            {},
            None,
        ),
        *(source_sha256(), "1" * 64, str(study.file.parent / "pack"), RunSettings(60.0), False, 1, 1, 0),
        shape="allocation",
        nodes=2,
    )
    ledger.write(submission)
    yield StartedJob(submission, 0, ledger, study.folder, StopSignals())
    for number, handler in heard.items():
        signal.signal(number, handler)


def names_left(job: StartedJob, study: Any) -> set[str]:
    return {spec.name for spec in left_to_train(job, study.runs)}


def test_what_is_done_failed_or_cancelled_is_not_trained(job: StartedJob, study: Any) -> None:
    everything = {spec.name for spec in study.runs}
    assert names_left(job, study) == everything
    baselines = [spec for spec in study.runs if spec.start is None]
    study.finish(baselines[0])
    study.fail(baselines[1], "ValueError: no")
    sequel = next(spec for spec in study.runs if spec.start and spec.start.baseline == baselines[0])
    job.ledger.cancel([sequel.name])
    assert names_left(job, study) == everything - {baselines[0].name, baselines[1].name, sequel.name}
    failed_before = study.folder.failures((baselines[1],))
    job.submission = replace(job.submission, failed_before=failed_before)
    assert baselines[1].name in names_left(job, study), "it was submitted to be tried again"


def test_a_run_whose_baseline_another_job_trains_is_left_for_later(
    job: StartedJob, study: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sequel = next(spec for spec in study.runs if spec.start is not None)
    job.submission = replace(job.submission, elements=((sequel.name,),))
    assert names_left(job, study) == set()
    assert f"left out: {sequel.name}" in caplog.text
    study.finish(sequel.start.baseline)
    assert names_left(job, study) == {sequel.name}


def test_one_that_refuses_to_begin_lets_the_other_nodes_go(job: StartedJob) -> None:
    job.ledger.write(replace(job.submission, source_sha256="f" * 64))
    words = [sys.executable, "-c", START, str(job.ledger.study_folder), job.submission.token]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode != 0
    assert "the code has changed" in (job.ledger.record(job.submission.token, 0).ended or "")
    assert Rendezvous.of_this_job(job.ledger).wait(lambda: False) is None


def test_the_logs_of_all_nodes_are_found_and_the_first_nodes_errors_are_last(job: StartedJob) -> None:
    for name in (
        "7_0_log.err",
        "7_0_log.out",
        "7_1_log.err",
        "7_1_log.out",
        "7_10_log.out",
        "71_0_log.out",
        "7_0_result.pkl",
    ):
        (job.ledger.logs / name).touch()
    names = [path.name for path in log_files(job.ledger, "7")]
    assert names == ["7_10_log.out", "7_1_log.out", "7_1_log.err", "7_0_log.out", "7_0_log.err"]


@dataclass
class LivingNode:
    """A Ray node that outlives its driver."""

    is_alive: bool = True

    def dies_within(self, _seconds: float) -> bool:
        return False


class Script(Driver):
    """A driver that reports what the test says, and ends."""

    def __init__(self, *messages: Message) -> None:
        self._messages = list(messages)

    def rounds(self, _seconds: float) -> Iterator[list[Message]]:
        yield self._messages

    def __exit__(self, *_: object) -> None:
        """Leave nothing behind."""


def followed(job: StartedJob, driver: Driver) -> str | None:
    node: Any = LivingNode()
    return follow(driver, job, node, kill_wait=30.0)


def test_what_the_driver_reports_is_recorded(job: StartedJob, study: Any) -> None:
    first, second, *_ = study.runs
    study.fail(second, "RuntimeError: CUDA error: uncorrectable ECC error encountered")
    script = Script(
        ("log", "2 of 2 nodes are up"),
        ("training", (first.name, second.name)),
        ("run ended", first, "in use"),
        ("run ended", second, "failed"),
        ("over", True),
    )
    assert followed(job, script) == "finished"
    assert job.ledger.record(job.submission.token, 0).trained == (second.name,)
    assert job.ledger.nodes_at_fault(second.name)


def test_a_driver_that_stopped_has_saved_and_one_that_died_is_followed_by_another(job: StartedJob) -> None:
    assert followed(job, Script(("over", False))) == "saved"
    assert followed(job, Script()) is None


def test_a_driver_that_cannot_join_says_why(
    job: StartedJob, study: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # where no token is
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "RAY_AUTH_MODE"):
        monkeypatch.delenv(name, raising=False)
    worker = WorkerTask(tmp_path, study.folder.runs, RunSettings())
    task = DriverTask("127.0.0.1:1", 1, study.runs, worker, job.submission, tmp_path)
    with pytest.raises(JobError, match="no token to join the cluster"):
        followed(job, Driver(task))
