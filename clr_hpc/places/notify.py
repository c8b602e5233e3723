"""A study's ``notify:`` command, which is run when its training has ended, failed or was stopped."""

import logging
import os
import shlex
import subprocess

from clr_hpc.places.base import Ended, Events, Place, Submitted, TrainingJob
from clr_hpc.store import layout
from clr_hpc.store.results import check_result, is_done

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 60
LONGEST_OUTPUT = 500
"""Characters of what a command that failed has printed."""


def train_and_notify(place: Place, job: TrainingJob, events: Events) -> Ended | Submitted:
    """Have a place train a job, as ``Place.run`` does, and run the study's command where that comes to an end."""
    try:
        ended = place.run(job, events)
    except KeyboardInterrupt:
        notify(job, "stopped")
        raise
    except Exception:
        notify(job, "failed")
        raise
    if isinstance(ended, Ended):
        notify(job, None if ended.is_complete else "stopped")
    return ended


def notify(job: TrainingJob, status: str | None) -> None:
    """Run a study's command, if it has one and anything was to be trained; whatever comes of it stops nothing.

    Args:
        job: of the study; LR range tests that come first don't count.
        status: ``stopped`` or ``failed``; None: by the runs that failed, ``failed`` or ``done``.
    """
    if job.study.notify is None or job.study.stages.range_test or not job.missing:
        return
    results = [check_result(job.folder.runs / spec.name, verify=False) for spec in job.runs]
    done = sum(map(is_done, results))
    folder = job.folder.path.absolute()
    about = {
        "CLR_HPC_STUDY": job.study.name,
        "CLR_HPC_STATUS": status or ("done" if done == len(results) else "failed"),
        "CLR_HPC_FOLDER": str(folder),
        "CLR_HPC_REPORT": str(folder / layout.REPORT / "report.html"),
        "CLR_HPC_RUNS": str(len(results)),
        "CLR_HPC_RUNS_DONE": str(done),
    }
    try:
        ended = subprocess.run(
            shlex.split(job.study.notify),
            env=os.environ | about,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("notify: %s: %s; the study is as it was", job.study.notify, error)
        return
    if ended.returncode:
        printed = (ended.stderr or ended.stdout).strip()[-LONGEST_OUTPUT:]
        log.warning("notify: %s: exit code %d: %s", job.study.notify, ended.returncode, printed)
