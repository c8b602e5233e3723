"""SLURM's commands: jobs, limits, cancelling and requeueing. Each call has a time limit.

Job states have three sources, any of which a site may lack: `squeue` for jobs that wait or run (and for minutes
for those that have ended), `sacct` for those that have ended, and the run folders' leases, which need no SLURM.
"""

import getpass
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from clr_hpc.config.base import UserError

TIMEOUT_SECONDS = 10.0
ENDED = {
    *("COMPLETED", "CANCELLED", "FAILED", "TIMEOUT", "NODE_FAIL", "PREEMPTED"),
    *("BOOT_FAIL", "DEADLINE", "OUT_OF_MEMORY", "REVOKED"),
}
COLUMNS = {
    "JobArrayID": 32,
    "Name": 96,
    "State": 24,
    "Reason": 96,
    "NodeList": 128,
    "TimeUsed": 24,
    "TimeLimit": 24,
    "RestartCnt": 8,
}


class SlurmError(UserError):
    """SLURM does not answer, or rejects a request."""


@dataclass(frozen=True)
class Job:
    """An array task, or a job without an array, as SLURM knows it."""

    job_id: str
    """``123_4``, or ``123``."""
    name: str
    state: str
    """``PENDING``, ``RUNNING``, …"""
    reason: str = ""
    """Why it waits; empty without a reason."""
    nodes: str = ""
    elapsed: str = ""
    """``1-02:03:04``; since its last start."""
    limit: str = ""
    restarts: int | None = None
    """None where SLURM does not report it."""

    @property
    def is_active(self) -> bool:
        """Whether it waits, runs, or will be requeued."""
        return self.state not in ENDED


def jobs_in_queue(names: Sequence[str]) -> list[Job]:
    """Return the jobs of these names from squeue, including those that ended a short while ago.

    Raises:
        SlurmError: it does not answer.
    """
    if not names:
        return []
    form = ",".join(f"{column}:{width}" for column, width in COLUMNS.items())
    printed = call(
        ["squeue", "--noheader", "--array", "--states=all", f"--name={','.join(names)}", f"--Format={form}"]
    )
    return [_from_squeue(line) for line in printed.splitlines() if line.strip()]


def _from_squeue(line: str) -> Job:
    values, at = [], 0
    for width in COLUMNS.values():
        values.append(line[at : at + width].strip())
        at += width
    job, name, state, reason, nodes, elapsed, limit, restarts = values
    return Job(
        job, name, state, _reason(reason), nodes, elapsed, limit, int(restarts) if restarts.isdigit() else None
    )


def jobs_in_accounting(names: Sequence[str], since: str) -> list[Job]:
    """Return the jobs of these names from sacct.

    Args:
        names: of the jobs.
        since: a day, ``2026-01-31``, before which none was submitted.

    Raises:
        SlurmError: the site keeps no accounts, or it does not answer.
    """
    if not names:
        return []
    form = "JobID,JobName,State,Reason,NodeList,Elapsed,Timelimit"
    base = ["sacct", "--noheader", "--parsable2", "--allocations", f"--format={form}"]
    printed = call([*base, f"--name={','.join(names)}", f"--starttime={since}"])
    jobs = []
    for line in printed.splitlines():
        job, name, state, reason, nodes, elapsed, limit = line.split("|")[:7]
        jobs.append(
            Job(job, name, state.split()[0], _reason(reason), "" if "None" in nodes else nodes, elapsed, limit)
        )
    return jobs


def _reason(text: str) -> str:
    return "" if text in ("None", "(null)") else text


def cancel_jobs(job_ids: Sequence[str]) -> None:
    """Cancel jobs; those that have ended are ignored.

    Raises:
        SlurmError: it does not answer, or rejects the request.
    """
    if job_ids:
        call(["scancel", *job_ids])


def max_array_size() -> int | None:
    """Return the site's MaxArraySize, the limit to an array's indices; None where it is unknown."""
    return _configured("MaxArraySize")


def kill_wait_seconds() -> int:
    """Return the seconds from SIGTERM to SIGKILL; SLURM's default where it is unknown."""
    return _configured("KillWait") or 30


def _configured(key: str) -> int | None:
    try:
        found = re.match(r"\d+", settings_of("config").get(key, ""))
    except SlurmError:
        return None
    return int(found[0]) if found else None


def settings_of(*what: str, timeout: float | None = None) -> dict[str, str]:
    """Return what ``scontrol show`` says of the configuration, or of a partition, by key.

    Raises:
        SlurmError: it does not answer.
    """
    return dict(re.findall(r"(\w+)\s*=\s*(\S+)", call(["scontrol", "show", *what], timeout)))


def minutes_of(limit: str) -> int | None:
    """Return a time limit as SLURM writes it, ``1-02:30:00``, in minutes; None for one without an end."""
    found = re.fullmatch(r"(?:(\d+)-)?(\d+):(\d+):\d+", limit)
    if found is None:
        return None
    days, hours, minutes = (int(part or 0) for part in found.groups())
    return (days * 24 + hours) * 60 + minutes


def host_names(node_list: str) -> list[str]:
    """Return the nodes of a list as SLURM writes it: ``node[01-03]``.

    Raises:
        SlurmError: scontrol fails.
    """
    return call(["scontrol", "show", "hostnames", node_list]).split()


def jobs_still_allowed(qos: str | None) -> int | None:
    """Return how many more jobs the user may submit under a QOS; None where that is unlimited or unknown."""
    try:
        printed = call(
            ["sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=Name,MaxSubmitJobsPerUser"]
        )
        limits = dict(line.split("|")[:2] for line in printed.splitlines() if "|" in line)
        most = limits.get(qos or "normal", "")
        if not most.isdigit():
            return None
        queued = call(["squeue", "--noheader", "--array", f"--user={getpass.getuser()}", "--Format=QOS:64"])
    except SlurmError:
        return None
    return max(0, int(most) - sum(line.strip() == (qos or "normal") for line in queued.splitlines()))


def requeue(job_id: str, excluded_node: str | None) -> None:
    """Requeue this process's own job, which ends all its processes; exclude a node if one is given.

    The caller ignores SIGTERM, and so do the commands started here: SLURM sends it at once, and only a requeued
    job can be changed to exclude a node.

    Raises:
        SlurmError: SLURM rejects it, such as where the site does not let users requeue jobs.
    """
    call(["scontrol", "requeue", job_id])
    if excluded_node is not None:
        nodes = {excluded_node, *_excluded_nodes(job_id)}
        call(["scontrol", "update", f"JobId={job_id}", f"ExcNodeList={','.join(sorted(nodes))}"])


def is_preempted(job_id: str) -> bool:
    """Return whether a job that received SIGTERM is preempted, rather than cancelled."""
    try:
        found = re.search(r"PreemptTime=(\S+)", call(["scontrol", "show", "job", job_id]))
    except SlurmError:
        return False
    return found is not None and found[1] not in ("None", "N/A")


def _excluded_nodes(job_id: str) -> list[str]:
    found = re.search(r"ExcNodeList=(\S+)", call(["scontrol", "show", "job", job_id]))
    if found is None or found[1] == "(null)":
        return []
    return host_names(found[1])


def call(command: Sequence[str], timeout: float | None = None) -> str:
    """Run one of SLURM's commands and return what it prints.

    Args:
        command: with its arguments.
        timeout: seconds that it may take; None: ``TIMEOUT_SECONDS``.

    Raises:
        SlurmError: it isn't installed, fails, or takes longer.
    """
    environment: dict[str, Any] = {**os.environ, "LC_ALL": "C", "SLURM_TIME_FORMAT": "standard"}
    timeout = TIMEOUT_SECONDS if timeout is None else timeout
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=timeout, env=environment
        )
    except FileNotFoundError:
        raise SlurmError(f"{command[0]} is not installed here; use a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise SlurmError(f"{command[0]} has not answered for {timeout:g} s; try again later") from None
    if done.returncode:
        raise SlurmError(f"{command[0]}: {_failure(done.stderr) or f'exit status {done.returncode}'}")
    return done.stdout


def _failure(stderr: str) -> str:
    """Return what a command says of its failure: the fatal lines if it has some, since the others lead to them."""
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    last = [line for line in lines if "fatal:" in line] or lines
    message = " ".join(re.sub(r"^\w+: (error|fatal): ", "", line) for line in dict.fromkeys(last))
    if "configuration source" in message:
        message += "; it finds no slurm.conf, so use a login node of the cluster"
    return " ".join(message.split())
