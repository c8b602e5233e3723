"""The interface of a place, and how a place is found by its name.

A place trains a ``TrainingJob`` and waits (``Ended``), or submits it and returns (``Submitted``). Packages add
places by entry points of the group ``clr_hpc.places``: ``pbs = "my_package.place:Pbs"``.
"""

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, fields, replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol

from clr_hpc.config.base import FrozenSpec, UserError, counted, unknown
from clr_hpc.config.plugins import load_plugin, plugins
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.doctor.check import Examination
from clr_hpc.monitoring.status import RunStatus, State
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.machine import Processes
from clr_hpc.places.options import SearchOptions, TrainingOptions
from clr_hpc.places.queue import Queue
from clr_hpc.planning.plan import Plan
from clr_hpc.store.records import Damaged
from clr_hpc.store.study_folder import Remaining, StudyFolder
from clr_hpc.training.run import ExitStatus, RunSettings

BUILT_IN = {
    "here": "clr_hpc.places.local.place:Here",
    "ray": "clr_hpc.places.ray.place:Ray",
    "slurm": "clr_hpc.places.slurm.place:Slurm",
}
GROUP = "clr_hpc.places"
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingJob:
    """What a command has a place train; it travels whole from the command to the place's workers."""

    study: Study
    """All of whose rates are numbers."""
    pack_checksum: str
    folder: StudyFolder
    runs: tuple[RunSpec, ...]
    """All of the study's."""
    options: TrainingOptions

    @property
    def pack_folder(self) -> Path:
        """The study's pack, already verified."""
        return Path(self.study.pack).absolute()

    @property
    def missing(self) -> tuple[RunSpec, ...]:
        """The runs that were not done when this was first asked for."""
        return self._remaining.runs

    @property
    def damaged(self) -> tuple[Damaged, ...]:
        """Why some of them are not done although they have a result."""
        return self._remaining.damaged

    @cached_property
    def _remaining(self) -> Remaining:
        return self.folder.remaining(self.runs)

    def show(self, events: "Events") -> bool:
        """Show how much of the study is done; return whether runs are missing."""
        runs, done = counted(len(self.runs), "run"), len(self.runs) - len(self.missing)
        events.say(f"{self.study.name}: {runs}, {done} done before; in {self.folder.path}")
        for remark in self.remarks:
            events.say(remark)
        return bool(self.missing)

    @property
    def remarks(self) -> list[str]:
        """What somebody who plans the study on its pack should know, a sentence each."""
        from clr_hpc.config.steps import step_remarks
        from clr_hpc.data.manifest import MANIFEST
        from clr_hpc.planning.power import power_remark
        from clr_hpc.store.pack_record import read_pack, training_images

        pack = read_pack(self.pack_folder, MANIFEST)
        if pack is None or isinstance(pack, Damaged):
            return list(self.study.remarks)
        power = power_remark(self.study, pack)
        steps = step_remarks(self.runs, lambda spec: training_images(pack, spec))
        return [*self.study.remarks, *steps, *([power] if power else [])]

    def prepare(self) -> None:
        """Write the study, its pack's manifest and the LR range tests that its rates are from into its folder.

        Raises:
            StudyError: the folder is another study's.
        """
        from clr_hpc.planning.lr_range import record_measured

        if not self.study.stages.range_test:  # whose folder is a view of tests that studies share
            self.folder.check(self.study, self.pack_checksum)
        self.folder.prepare(self.study, self.pack_folder)
        record_measured(self.study, self.pack_checksum, self.options.results)

    def worker_task(self, place: str = "", cancelled_folder: Path | None = None) -> WorkerTask:
        """Return what the workers need of this job."""
        return WorkerTask(
            self.pack_folder, self.folder.runs.absolute(), settings_of(self.options), place, cancelled_folder
        )


def settings_of(options: SearchOptions) -> RunSettings:
    """Return the options that each run is trained with."""
    names = [field.name for field in fields(RunSettings) if hasattr(options, field.name)]
    return RunSettings(**{name: getattr(options, name) for name in names}, frees=True)


@dataclass(frozen=True)
class Ended:
    """A place has trained a job."""

    is_complete: bool
    """False: Ctrl-C stopped it, with every run saved."""


@dataclass(frozen=True)
class Submitted:
    """A place will train a job, and ``clr-hpc status`` shows how that goes."""


class Events(Protocol):
    """Whoever watches a place train; the terminal, for people."""

    def say(self, line: str) -> None:
        """Show a line."""

    def busy(self, text: str) -> AbstractContextManager[Callable[[str], None]]:
        """Show within the context that something takes its time; calling what is yielded changes the text."""

    def planned(self, plan: Plan) -> None:
        """Show the plan of the job."""

    def under_way(self, runs: Collection[RunSpec]) -> None:
        """Show the runs that are being trained; called about twice a second."""

    def ended(self, spec: RunSpec, outcome: ExitStatus) -> None:
        """Show that a run ended."""


@dataclass(frozen=True)
class JobState:
    """A job that a place has submitted: one task of an array, or all of an allocation."""

    job_id: str
    state: str
    """The scheduler's word in lower case; ``not known`` where it has none."""
    reason: str
    """Why it waits, or why it ended."""
    node: str
    elapsed: str
    limit: str
    requeues: int
    runs: tuple[str, ...]
    """The names of the runs that it was given."""
    is_active: bool
    """Whether it waits, runs or will be queued again, as far as is known."""
    shape: str = ""
    log: tuple[str, ...] = ()
    """The last lines of one that failed."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        values = asdict(self)
        del values["is_active"]
        return values


@dataclass(frozen=True)
class JobStatus:
    """All jobs that a place has submitted for a study."""

    place: str
    jobs: tuple[JobState, ...]
    excluded: Mapping[str, str]
    """Nodes on which no job is started any more, and why."""
    cancelled: frozenset[str]
    """The names of runs."""
    silence: str | None = None
    """Why the scheduler did not answer; None where it did."""

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values."""
        return {
            "elements": [job.as_dict() for job in self.jobs],
            "excluded_nodes": dict(self.excluded),
            "cancelled_runs": sorted(self.cancelled),
            f"{self.place}_is_silent": self.silence,
        }

    def explain(self, runs: Sequence[RunStatus]) -> list[RunStatus]:
        """Name the job of each run that waits or was stopped, or say that the run was cancelled."""
        job_of = {name: job for job in self.jobs if job.is_active for name in job.runs}
        return [self._explain(run, job_of.get(run.spec.name)) for run in runs]

    def _explain(self, run: RunStatus, job: JobState | None) -> RunStatus:
        if run.state not in (State.WAITING, State.STOPPED):
            return run
        if run.spec.name in self.cancelled:
            why = "cancelled"
        elif job is None:
            return run
        else:
            why = f"job {job.job_id} is {job.state}" + (f" ({job.reason})" if job.reason else "")
        return replace(run, reason=f"{run.reason}; {why}" if run.reason else why)


class TrialPlace(Protocol):
    """A place that trains the trials of a search."""

    @property
    def sharing(self) -> Processes:
        """How the runs share a machine, which says what batch fits into its memory."""

    @property
    def processor(self) -> str:
        """``GPU`` or ``CPU``: what a run is trained on."""

    @property
    def processors(self) -> float:
        """How many of these a run has."""

    def train(self, queue: Queue, task: WorkerTask, say: Callable[[str], None]) -> bool:
        """Train until the queue is finished; return False where Ctrl-C stopped it, with every run saved."""


class Place(ABC):
    """Where a study can be trained. A place that waits for its runs needs ``describe`` and ``run`` alone."""

    name: ClassVar[str]
    options: ClassVar[frozenset[str]] = frozenset()
    """The options it takes, of those in ``clr_hpc.places.options`` that are not for all places."""
    instead: ClassVar[Mapping[str, str]] = {}
    """What to do in place of giving an option that it does not take."""
    waits: ClassVar[bool] = True
    """Whether ``run`` trains and returns when all runs have ended; else it submits them."""
    site: ClassVar[type[FrozenSpec] | None] = None
    """What its site file holds; None where it has none."""
    ray_lanes: ClassVar[bool] = False
    """Whether it trains in lanes of Ray, which a plan may give several workers or a part of a GPU."""

    def check(self, options: SearchOptions) -> None:  # noqa: B027
        """See that this place can train, in the first second and without starting or writing anything.

        Raises:
            UserError: it can't, as where what it needs is not installed.
        """

    def draft_site(self, shared_folder: Path) -> str | None:  # noqa: ARG002
        """Return the text of a site file from what the place says of itself; None where it has none.

        Args:
            shared_folder: an absolute path, taken to be on a disk that all nodes see.

        Raises:
            UserError: it is here, but doesn't answer.
        """
        return None

    def examinations(self, site: Path | None, results: Path, submits: bool) -> Sequence[Examination]:  # noqa: ARG002
        """Return what ``clr-hpc doctor`` looks at for this place.

        Args:
            site: file of the place's site; None: the user's own, if there is one.
            results: folder of all studies' results.
            submits: whether a tiny job may be submitted.
        """
        return ()

    @abstractmethod
    def describe(self, job: TrainingJob, events: Events) -> None:
        """Show what ``run`` would train and how, and neither train, measure nor write anything."""

    @abstractmethod
    def run(self, job: TrainingJob, events: Events) -> Ended | Submitted:
        """Prepare the job's folder and train what is missing."""

    def trials(self, options: SearchOptions) -> AbstractContextManager[TrialPlace]:  # noqa: ARG002
        """Return a context that yields what trains a search's trials.

        Raises:
            UserError: it can't.
        """
        raise UserError(
            f"--on {self.name}: a search needs its own process from the first trial to the last; take an "
            "allocation and run the same command in it with --on here or --on ray: clr-hpc manual tune-a-study"
        )

    def has_jobs(self, study: StudyFolder) -> bool:  # noqa: ARG002
        """Say whether this place has ever submitted jobs of a study."""
        return False

    def status(self, study: StudyFolder) -> JobStatus | None:  # noqa: ARG002
        """Return the jobs of a study; None where it has none."""
        return None

    def cancel(self, study: StudyFolder, runs: Sequence[RunSpec] | None) -> list[str]:  # noqa: ARG002
        """Cancel all jobs of a study, or only some of its runs; return a line for each."""
        return []

    def logs(self, study: StudyFolder, run: RunSpec, lines: int) -> list[str]:  # noqa: ARG002
        """Return the last lines of what the job printed that trained a run."""
        return []


def find_place(name: str) -> Place:
    """Return the place of a name, as ``--on`` gives it.

    Raises:
        UserError: there is none, or what a package gives for it can't be loaded or is no place.
    """
    if name in BUILT_IN:
        module, _, attribute = BUILT_IN[name].partition(":")
        found = getattr(import_module(module), attribute)
    else:
        added = plugins(GROUP)
        if name not in added:
            raise UserError(f"--on {name}: {unknown('place', name, [*BUILT_IN, *added])}")
        found = load_plugin(added[name], _is_place, "a subclass of Place")
    place: Place = found()
    return place


def all_places() -> Iterator[Place]:
    """Yield every place, the built-in ones first; leave out, with a warning, what can't be imported."""
    for name in [*BUILT_IN, *plugins(GROUP)]:
        try:
            yield find_place(name)
        except UserError as error:
            log.warning("%s", error)


def _is_place(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Place)
