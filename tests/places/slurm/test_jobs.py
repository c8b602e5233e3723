"""What is shown of jobs, with a SLURM that answers, is slow, or is away: its commands are scripts here."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clr_hpc.monitoring.status import State, StudyStatus
from clr_hpc.places.slurm import commands
from clr_hpc.places.slurm.commands import COLUMNS, SlurmError, jobs_in_queue
from clr_hpc.places.slurm.jobs import log_of_run, read_slurm_status
from clr_hpc.places.slurm.ledger import JobRecord, Ledger, Start, Submission, new_token
from clr_hpc.training.run import RunSettings

StudyMaker = Callable[..., Any]
REFUSES = "#!/bin/sh\necho 'Slurm accounting storage is disabled' >&2\nexit 1\n"


class FakeSlurm:
    """Scripts in the place of SLURM's commands, which count their calls."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.script("sacct", REFUSES)

    def script(self, name: str, text: str) -> None:
        (self.folder / name).write_text(text)
        (self.folder / name).chmod(0o755)

    def queue(self, *jobs: dict[str, str]) -> None:
        lines = ["".join(job[column].ljust(width) for column, width in COLUMNS.items()) for job in jobs]
        (self.folder / "queue").write_text("".join(line + "\n" for line in lines))
        calls = self.folder / "calls"
        self.script("squeue", f"#!/bin/sh\necho call >> {calls}\ncat {self.folder}/queue\n")

    @property
    def calls(self) -> int:
        return len((self.folder / "calls").read_text().splitlines())


@pytest.fixture
def fake_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeSlurm:
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    return FakeSlurm(tmp_path / "bin")


@pytest.fixture
def submitted(invent_study: StudyMaker) -> tuple[Any, Ledger, Submission]:
    study = invent_study()
    ledger = Ledger(study.folder.path.absolute())
    ledger.prepare()
    token, name = new_token("invented")
    names = [spec.name for spec in study.runs]
    elements = (tuple(names[:3]), tuple(names[3:]))
    made = "2026-01-01T00:00:00+00:00"
    submission = Submission(
        *(token, name, made, "submitted", elements, {}, None, "0" * 64, "1" * 64),
        *("/packs/none", RunSettings(60.0), False, 1, 1, 600),
        job=7,
    )
    ledger.write(submission)
    return study, ledger, submission


def job(submission: Submission, index: int, state: str, **changes: str) -> dict[str, str]:
    values = {"JobArrayID": f"7_{index}", "Name": submission.name, "State": state, "Reason": "None"}
    return {**values, "NodeList": "", "TimeUsed": "0:00", "TimeLimit": "30:00", "RestartCnt": "0"} | changes


def test_runs_say_which_job_has_them_and_why_it_waits(
    submitted: tuple[Any, Ledger, Submission], fake_slurm: FakeSlurm
) -> None:
    study, ledger, submission = submitted
    running = job(submission, 0, "RUNNING", NodeList="node1", TimeUsed="1:02", RestartCnt="2")
    fake_slurm.queue(running, job(submission, 1, "PENDING", Reason="QOSMaxJobsPerUserLimit"))
    slurm = read_slurm_status(ledger)
    first, second = slurm.jobs
    assert (first.state, first.node, first.elapsed, first.limit, first.requeues) == (
        *("running", "node1", "1:02", "30:00"),
        2,
    )
    assert (second.state, second.reason) == ("pending", "QOSMaxJobsPerUserLimit")
    runs = slurm.explain(StudyStatus(study.folder).read())
    assert runs[-1].state == State.WAITING
    assert runs[-1].reason is not None
    assert "job 7_1 is pending (QOSMaxJobsPerUserLimit)" in runs[-1].reason


def test_slurm_is_asked_once_however_often_and_by_whomever_the_status_is(
    submitted: tuple[Any, Ledger, Submission], fake_slurm: FakeSlurm
) -> None:
    _, ledger, submission = submitted
    fake_slurm.queue(job(submission, 0, "RUNNING"), job(submission, 1, "RUNNING"))
    assert read_slurm_status(ledger) == read_slurm_status(ledger)
    assert fake_slurm.calls == 1
    kept = ledger.folder / "queue.json"
    values = json.loads(kept.read_text())
    kept.write_text(json.dumps(values | {"asked": time.time() - 31}))
    read_slurm_status(ledger)
    assert fake_slurm.calls == 2


def test_a_job_that_failed_shows_the_end_of_its_log(
    submitted: tuple[Any, Ledger, Submission], fake_slurm: FakeSlurm
) -> None:
    study, ledger, submission = submitted
    start = Start("2026-01-01T00:00:01+00:00", "node1", "7_0", 1, 0, 0)
    ledger.write_record(submission.token, 0, JobRecord((start,), (), "the code has changed", failed=True))
    (ledger.logs / "7_0_0_log.err").write_text("".join(f"line {number}\n" for number in range(100)))
    fake_slurm.queue(job(submission, 0, "FAILED"), job(submission, 1, "OUT_OF_MEMORY"))
    first, second = read_slurm_status(ledger).jobs
    assert first.log[-1] == "line 99"
    assert (first.reason, first.is_active) == ("the code has changed", False)
    assert (second.state, second.is_active) == ("out_of_memory", False)
    told = status(study)
    assert "line 99" in told.stdout, told.stderr
    assert "the code has changed" in told.stdout


def test_without_slurm_the_jobs_own_words_remain(
    submitted: tuple[Any, Ledger, Submission], fake_slurm: FakeSlurm
) -> None:
    study, ledger, submission = submitted
    fake_slurm.script("squeue", REFUSES)
    start = Start("2026-01-01T00:00:01+00:00", "node1", "7_0", 1, 0, 0)
    ledger.write_record(submission.token, 0, JobRecord((start,), (), "nothing is left to do here"))
    slurm = read_slurm_status(ledger)
    assert slurm.silence is not None
    assert "accounting storage is disabled" in slurm.silence
    assert [element.state for element in slurm.jobs] == ["completed", "not known"]
    assert "SLURM does not answer" in status(study).stdout


def test_a_command_that_hangs_is_given_up(fake_slurm: FakeSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_slurm.script("squeue", "#!/bin/sh\nexec sleep 60\n")
    monkeypatch.setattr(commands, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(SlurmError, match=r"has not answered for 0\.2 s"):
        jobs_in_queue(["clr-trial"])


NO_CONTROLLER = """#!/bin/sh
echo 'sinfo: error: resolve_ctls_from_dns_srv: res_nsearch error: Unknown host' >&2
echo 'sinfo: error: fetch_config: DNS SRV lookup failed' >&2
echo 'sinfo: fatal: Could not establish a configuration source' >&2
exit 1
"""
LIMITED = """#!/bin/sh
echo 'sinfo: error: slurm_load_node: Invalid user' >&2
exit 1
"""


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        (
            NO_CONTROLLER,
            "Could not establish a configuration source; it finds no slurm.conf, so use a login node of the",
        ),
        (LIMITED, "slurm_load_node: Invalid user$"),
        ("#!/bin/sh\nexit 3\n", "exit status 3$"),
    ],
)
def test_the_reason_of_a_failure_is_said_once(fake_slurm: FakeSlurm, script: str, reason: str) -> None:
    fake_slurm.script("sinfo", script)
    with pytest.raises(SlurmError, match=f"^sinfo: {reason}"):
        commands.call(["sinfo"])


def status(study: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clr_hpc", "status", str(study.file), "--results", str(study.results)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_a_job_whose_folder_its_node_cannot_see_says_so(
    submitted: tuple[Any, Ledger, Submission], fake_slurm: FakeSlurm
) -> None:
    """SLURM opens a job's output before anything of ours runs; where it can't, the job fails without a word."""
    study, ledger, submission = submitted
    fake_slurm.queue(job(submission, 0, "FAILED", NodeList="node1"), job(submission, 1, "PENDING"))
    (silent, waiting), run = read_slurm_status(ledger).jobs, study.runs[0]
    assert f"node1 may not see {ledger.logs}; look with srun --nodelist=node1 ls {ledger.logs}" in silent.reason
    assert waiting.reason == ""
    with pytest.raises(SlurmError, match="job 7_0: it printed nothing, so node1 may not see"):
        log_of_run(ledger, run, 10)
    assert log_of_run(ledger, study.runs[-1], 10) == [f"{study.runs[-1].name}: no job has begun it"]


def test_what_a_job_printed_that_began_no_run_is_shown(
    submitted: tuple[Any, Ledger, Submission], fake_slurm: FakeSlurm
) -> None:
    study, ledger, submission = submitted
    fake_slurm.queue(job(submission, 0, "FAILED", NodeList="node1"), job(submission, 1, "PENDING"))
    (ledger.logs / "7_0_0_log.err").write_text("python: not found\n")
    assert log_of_run(ledger, study.runs[0], 10)[-1] == "python: not found"
