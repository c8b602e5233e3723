"""``clr_hpc.run``: train a study from Python, as the command ``clr-hpc run`` does."""

import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import fields
from multiprocessing import current_process
from pathlib import Path
from typing import Any

from clr_hpc.config.base import UserError, counted, unknown
from clr_hpc.config.expand import runs_of_one_seed
from clr_hpc.config.load import load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK
from clr_hpc.data.manifest import open_manifest
from clr_hpc.places.base import Ended, Submitted, TrainingJob, find_place
from clr_hpc.places.notify import train_and_notify
from clr_hpc.places.options import TrainingOptions, of_a_place
from clr_hpc.places.prepare import check_beforehand, check_job, job_of, on_its_pack, with_auto_rates
from clr_hpc.planning.plan import Plan
from clr_hpc.store.results import check_result
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.run import ExitStatus

log = logging.getLogger(__name__)
_OF_THE_COMMAND = ("dry_run", "replace", "profile", "overrides")
"""Options that the command alone has."""


class FailedRunsError(UserError):
    """Runs of a study failed; the message counts them and has the reason of the first."""


def run(study: Study | str | Path, **options: Any) -> Path:
    """Train the remaining runs of a study and return its folder, for ``clr_hpc.load`` and ``clr_hpc.report``.

    What a place says is logged, at the level INFO. Processes are started: in a script, call this below
    ``if __name__ == "__main__":``.

    Args:
        study: a study, or the path of its file.
        options: of the command ``clr-hpc run`` as keywords: ``on``, ``results``, ``processes``, ``with_plan``,
            ``checkpoint_seconds``, ``lanes`` … Changes to the study are made with ``study.model_copy`` or in its
            file.

    Returns:
        Such as ``results/quickstart``. A place that submits jobs, such as SLURM, returns before they have run.

    Raises:
        FailedRunsError: a run failed; the others are done.
        UserError: the study can't be trained, or an option is not known.
        KeyboardInterrupt: Ctrl-C; every run under way has saved a checkpoint.
    """
    if getattr(current_process(), "_inheriting", False):  # what multiprocessing goes by, when it is too late
        raise UserError(
            "clr_hpc.run was called again by a process that it has started, which reads the script anew; put the "
            'call below the line: if __name__ == "__main__":'
        )
    given = _checked(options)
    place = find_place(given.on)
    place.check(given)
    loaded, manifest = on_its_pack(study if isinstance(study, Study) else load_study(Path(study)))
    folder = StudyFolder.of(given.results, loaded.name)
    check_beforehand(manifest, runs_of_one_seed(loaded, CHECKSUM_OF_NO_PACK), given.results)
    folder.check(loaded, manifest.checksum)
    checksum = open_manifest(Path(loaded.pack), verify=place.waits).checksum

    def train(job: TrainingJob) -> bool:
        check_job(job)
        ended = train_and_notify(place, job, _Logged())
        if isinstance(ended, Ended):
            _check(ended, job)
        return not isinstance(ended, Submitted)

    numbered = with_auto_rates(loaded, checksum, place, given, train, log.info)
    if numbered is not None:
        train(job_of(numbered, checksum, folder, given))
    return folder.path


def _checked(options: dict[str, Any]) -> TrainingOptions:
    """Return the options of a call.

    Raises:
        UserError: one is not known, or the place doesn't take it.
    """
    known = [field.name for field in fields(TrainingOptions) if field.name not in _OF_THE_COMMAND]
    for name in options:
        if name not in known:
            raise UserError(unknown("option of clr_hpc.run", name, known))
    place = find_place(options.get("on", "here"))
    for name in options.keys() & (of_a_place(TrainingOptions) - place.options):
        raise UserError(f"{name}={options[name]}: the place {place.name} does not take it; leave it out")
    given = TrainingOptions(**options)
    return TrainingOptions(**options | {"results": Path(given.results)})


def _check(ended: Ended, job: TrainingJob) -> None:
    """Look for what went wrong.

    Raises:
        KeyboardInterrupt: it was stopped.
        FailedRunsError: runs failed.
    """
    if not ended.is_complete:
        raise KeyboardInterrupt
    failed = job.folder.remaining(job.runs).runs
    if not failed:
        return
    result = check_result(job.folder.runs / failed[0].name, verify=False)
    reason = result.get("reason", "") if isinstance(result, dict) else str(result or "it has no result")
    raise FailedRunsError(f"{len(failed)} of {counted(len(job.runs), 'run')} failed; {failed[0].name}: {reason}")


class _Logged:
    """``Events`` in the log."""

    def say(self, line: str) -> None:
        """Log a line."""
        log.info("%s", line)

    @contextmanager
    def busy(self, text: str) -> Iterator[Callable[[str], None]]:
        """Log what takes its time, and each change of it."""
        log.info("%s", text)
        yield lambda changed: log.info("%s", changed)

    def planned(self, plan: Plan) -> None:
        """Log nothing: the plan is in the study's folder."""

    def under_way(self, runs: Collection[RunSpec]) -> None:
        """Log nothing: it is called twice a second."""

    def ended(self, spec: RunSpec, outcome: ExitStatus) -> None:
        """Log how a run ended."""
        log.info("%s: %s", outcome, spec.name)
