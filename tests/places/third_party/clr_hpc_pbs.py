"""A place that a package of its own adds: PBS. Its one job runs the same study on a node, with ``--on here``."""

import json
import shlex
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from clr_hpc.config.base import UserError
from clr_hpc.config.run import RunSpec
from clr_hpc.places.base import Events, JobState, JobStatus, Place, Submitted, TrainingJob
from clr_hpc.store.study_folder import StudyFolder


class Pbs(Place):
    """A job of a PBS cluster; ``pbs.json`` in the study's folder records it."""

    name = "pbs"
    waits = False
    options = frozenset({"processes", "cohort"})

    def describe(self, job: TrainingJob, events: Events) -> None:
        """Show the job's script."""
        if job.show(events):
            events.say(_script(job))

    def run(self, job: TrainingJob, events: Events) -> Submitted:
        """Submit the script."""
        job.prepare()
        if job.show(events):
            folder = job.folder.path.absolute()
            (folder / "pbs.sh").write_text(_script(job))
            number = _call("qsub", "-j", "oe", "-o", str(folder / "pbs.log"), str(folder / "pbs.sh"))
            record = {"job": number, "runs": [spec.name for spec in job.missing]}
            (folder / "pbs.json").write_text(json.dumps(record))
            events.say(f"job {number}: {len(job.missing)} runs")
        return Submitted()

    def has_jobs(self, study: StudyFolder) -> bool:
        """Look for the record."""
        return (study.path / "pbs.json").exists()

    def status(self, study: StudyFolder) -> JobStatus | None:
        """Ask qstat for the job's state."""
        if not self.has_jobs(study):
            return None
        record = json.loads((study.path / "pbs.json").read_text())
        letter = _call("qstat", record["job"], fails_with="F")
        state, runs = {"Q": "queued", "R": "running"}.get(letter, "finished"), tuple(record["runs"])
        job = JobState(record["job"], state, "", "", "", "", 0, runs, is_active=state != "finished")
        return JobStatus(self.name, (job,), {}, frozenset())

    def cancel(self, study: StudyFolder, runs: Sequence[RunSpec] | None) -> list[str]:
        """Delete the job."""
        if runs is not None:
            raise UserError("PBS jobs are cancelled as a whole; give no run")
        number = json.loads((study.path / "pbs.json").read_text())["job"]
        _call("qdel", number)
        return [f"cancelled: job {number}"]

    def logs(self, study: StudyFolder, run: RunSpec, lines: int) -> list[str]:
        """Read the job's one log."""
        return (study.path / "pbs.log").read_text().splitlines()[-lines:] if run else []


def _script(job: TrainingJob) -> str:
    folder = job.folder.path.absolute()
    command = [sys.executable, "-m", "clr_hpc", "run", str(folder / "study.yaml"), "--no-plan"]
    command += ["--results", str(folder.parent), "--cohort", str(job.options.cohort)]
    command += ["--checkpoint-seconds", str(job.options.checkpoint_seconds)]
    return f"#!/bin/sh\ncd {shlex.quote(str(Path.cwd()))}\nexec {shlex.join(command)}\n"


def _call(*command: str, fails_with: str | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and fails_with is None:
        raise UserError(f"{command[0]}: {done.stderr.strip()}")
    return done.stdout.strip() if done.returncode == 0 else str(fails_with)
