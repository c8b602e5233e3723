"""An element of a job array, on its node: trains its share of a study, and survives what the queue does to it."""

from dataclasses import dataclass
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.processes.pool import drain
from clr_hpc.places.slurm.array_queue import SharedRuns
from clr_hpc.places.slurm.job import NOTHING_LEFT, StartedElement, run_start, say
from clr_hpc.training.run import ExitStatus


@dataclass(frozen=True)
class ArrayElement:
    """What submitit calls on the node; unpickled there."""

    study_folder: str
    token: str
    index: int

    def __call__(self) -> str:
        """Train until nothing is left to do here; return how it ended, for people.

        Raises:
            ElementError: code or pack are not those of the submission, or start after start nothing came of it.
        """
        return run_start(Path(self.study_folder), self.token, self.index, _train)


def _train(element: StartedElement, runs: tuple[RunSpec, ...]) -> str:
    """Train, and say how it ended; does not return where the job is queued again."""
    submission, study = element.submission, element.study
    known = {spec.name: spec for spec in runs}
    own = [known.pop(name) for name in submission.elements[element.index] if name in known]
    queue = SharedRuns(
        own,
        list(known.values()),
        element.ledger,
        study.runs,
        submission.failed_before,
        element.node,
        submission.baseline_wait_seconds,
    )
    finished = _drain(element, queue)
    if element.bad_node:
        element.move_to_another_node(element.bad_node)
    return NOTHING_LEFT if finished else element.save_and_go()


def _drain(element: StartedElement, queue: SharedRuns) -> bool:
    submission = element.submission
    task = WorkerTask(
        Path(submission.pack_folder),
        element.study.runs,
        submission.settings,
        f"job {element.job_name}",
        element.ledger.cancelled_folder,
    )
    say(f"element {element.index} of job {element.job_name} on {element.node}")

    def on_end(spec: RunSpec, outcome: ExitStatus) -> bool:
        """Return whether a fault may have damaged the processes, so that fresh ones are needed."""
        say(f"{outcome}: {spec.name}")
        if outcome == "in use":
            element.note_in_use(spec.name)
        if outcome == "done":
            element.note_done(element.node)
        return outcome == "failed" and element.note_fault(spec, element.node)

    return drain(
        queue,
        task,
        submission.processes,
        submission.threads,
        lambda: element.stop.any or element.bad_node is not None,
        lambda under_way: element.note_under_way([spec.name for spec in under_way]),
        on_end,
    )
