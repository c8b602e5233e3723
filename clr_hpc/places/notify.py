"""A study's ``notify:`` command, which is run when its training has ended, failed or was stopped."""

import logging
import os
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress

from clr_hpc.config.base import UserError
from clr_hpc.config.study import Study
from clr_hpc.places.base import Ended, Events, Place, Submitted, TrainingJob
from clr_hpc.store import layout
from clr_hpc.store.results import check_result, is_done

log = logging.getLogger(__name__)
TIMEOUT_SECONDS = 60
LONGEST_OUTPUT = 500
"""Characters of what a command that failed has printed."""


def check_command(study: Study) -> None:
    """See before training that a study's command can be found.

    Raises:
        UserError: it can't.
    """
    if study.notify is not None and shutil.which(shlex.split(study.notify)[0]) is None:
        raise UserError(
            f"notify={study.notify}: no program of that name can be run here; correct the name, or give its path"
        )


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
        code, printed = _run(shlex.split(job.study.notify), os.environ | about)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        log.warning("notify: %s: %s; the study is as it was", job.study.notify, error)
        return
    if code:
        said = printed.strip()[-LONGEST_OUTPUT:] or "it printed nothing"
        log.warning("notify: %s: exit code %d: %s", job.study.notify, code, said)


def _run(words: list[str], environment: dict[str, str]) -> tuple[int, str]:
    """Return a command's exit code and what it printed; after the timeout it ends with all it started."""
    with subprocess.Popen(
        words,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    ) as process:
        try:
            printed, _ = process.communicate(timeout=TIMEOUT_SECONDS)
        except subprocess.TimeoutExpired:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            raise
        return process.returncode, printed
