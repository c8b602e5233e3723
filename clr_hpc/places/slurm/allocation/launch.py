"""An allocation: one job over several nodes, in which a Ray cluster starts, trains a study's runs and ends.

SLURM starts a task on each node. The first one's node is the head: it tells the others where, on the shared disk,
and has a process of its own, the driver, that trains in the cluster's lanes. The others are nodes of the cluster
for as long as the head answers. Signals and requeues are those of any element (``clr_hpc.places.slurm.job``).
"""

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.slurm.allocation.driver import Driver, DriverTask, Ended, Finished, Said, UnderWay
from clr_hpc.places.slurm.allocation.node import TIDY_SECONDS, cluster_node, join_cluster
from clr_hpc.places.slurm.allocation.ray_node import RayNode
from clr_hpc.places.slurm.allocation.rendezvous import Head, Meeting
from clr_hpc.places.slurm.allocation.resources import NodeError, own_address
from clr_hpc.places.slurm.array_queue import is_still_open
from clr_hpc.places.slurm.commands import SlurmError, host_names, kill_wait_seconds
from clr_hpc.places.slurm.job import NOTHING_LEFT, ElementError, StartedElement, run_start, say
from clr_hpc.places.slurm.ledger import Ledger

End = Literal["finished", "saved", "cut off"]
"""``finished``: every run has ended; the others: of those under way."""
POLL_SECONDS = 0.5
MOST_DEATHS = 3
"""Of the driver, in one start."""
DEATH_SECONDS = 4.0
"""In which the end of one of Ray's processes is noticed by those beside it."""


@dataclass(frozen=True)
class Allocation:
    """What submitit calls on each node; unpickled there."""

    study_folder: str
    token: str

    def __call__(self) -> str:
        """Train until nothing is left to do, or be a node for it; return how it ended, for people.

        Raises:
            ElementError: code or pack are not those of the submission, or start after start nothing came of it.
        """
        meeting = Meeting.of_this_job(Ledger(Path(self.study_folder)))
        if int(os.environ.get("SLURM_PROCID", "0")) != 0:
            return join_cluster(meeting)
        try:
            return run_start(Path(self.study_folder), self.token, 0, partial(_lead, meeting))
        finally:
            meeting.close()


def _lead(meeting: Meeting, element: StartedElement, runs: tuple[RunSpec, ...]) -> str:
    """Be the head: have the cluster train, and say how it ended; does not return where the job is queued again."""
    missing = left_to_train(element, runs)
    if not missing:
        return NOTHING_LEFT
    meeting.open()
    try:
        names = host_names(os.environ.get("SLURM_JOB_NODELIST", element.node))
        address = own_address([name for name in names if name != element.node])
        say(f"job {element.job_name} on {', '.join(names)}; the head is {element.node}, {address}")
        with cluster_node(meeting, element.job, address, None, lambda: element.stop.any) as node:
            ended = _train(meeting, element, node, missing, len(names))
    except (SlurmError, NodeError) as error:
        if not element.stop.any:
            raise ElementError(str(error)) from error
        ended = "saved"
    meeting.close()
    if element.bad_node:
        return element.move_to_another_node(element.bad_node)
    if ended != "finished" and element.stop.any:
        return element.save_and_go(is_saved=ended == "saved")
    if ended != "finished":
        say("the cluster was lost; the job is queued again")
        return element.queue_again()
    if any(element.ledger.nodes_at_fault(spec.name) for spec in left_to_train(element, runs)):
        say("runs failed through the fault of a node; the job is queued again for them")
        return element.queue_again()
    return NOTHING_LEFT


def _train(meeting: Meeting, element: StartedElement, node: RayNode, missing: list[RunSpec], nodes: int) -> End:
    submission = element.submission
    port, kill_wait = node.ports["dashboard-port"], kill_wait_seconds()
    meeting.announce(Head(node.gcs_address, element.node, port, kill_wait))
    say(f"dashboard: http://127.0.0.1:{port} on {element.node}; its token is in {meeting.token}")
    worker = WorkerTask(
        Path(submission.pack_folder),
        element.study.runs,
        submission.settings,
        f"job {element.job_name}, lane {{number}}",
        element.ledger.cancelled_folder,
    )
    task = DriverTask(
        address=node.gcs_address,
        nodes=nodes,
        runs=tuple(missing),
        worker=worker,
        lanes=submission.lanes,
        workers_per_lane=submission.workers_per_lane,
        rates=None if submission.rates is None else Path(submission.rates),
        storage=meeting.lanes,
    )
    for _ in range(MOST_DEATHS):
        ended = _follow(Driver(task), element, node, kill_wait)
        if ended is not None:
            return ended
        say("the process that has the cluster train has died; another one goes on")
    return "cut off"


def _follow(driver: Driver, element: StartedElement, node: RayNode, kill_wait: float) -> End | None:
    """Follow the driver to its end; None where it died and another may go on.

    Raises:
        ElementError: nothing can be trained.
    """
    stop, error = element.stop, None
    with driver:
        for messages in driver.rounds(POLL_SECONDS):
            for message in messages:
                if isinstance(message, Finished) and message.error is None:
                    return "finished" if message.every_run_ended else "saved"
                if isinstance(message, Finished):
                    error = message.error
                else:
                    _note(message, element)
            if stop.any or element.bad_node:
                driver.stop()
            if not node.is_alive or stop.seconds_since_term > kill_wait - TIDY_SECONDS:
                return "cut off"
    if stop.any or node.dies_within(DEATH_SECONDS):  # which is what the driver died of
        return "cut off"
    if error is not None:
        raise ElementError(error)
    return None


def _note(message: UnderWay | Ended | Said, element: StartedElement) -> None:
    if isinstance(message, Said):
        say(message.what)
    elif isinstance(message, UnderWay):
        element.note_under_way(message.names)
    else:
        spec, outcome = message.spec, message.outcome
        say(f"{outcome}: {spec.name}")
        node = (element.study.host_of(spec) or element.node).split(".")[0]
        if outcome == "in use":
            element.note_in_use(spec.name)
        elif outcome == "failed":
            element.note_fault(spec, node)
        elif outcome == "done":
            element.note_done(node)


def left_to_train(element: StartedElement, runs: tuple[RunSpec, ...]) -> list[RunSpec]:
    """Return the submission's runs that are to be trained, without those whose baseline is another job's."""
    submission, ledger, study = element.submission, element.ledger, element.study
    cancelled = ledger.cancelled()
    names = {
        name
        for name in submission.elements[0]
        if name not in cancelled and is_still_open(name, study.runs, ledger, submission.failed_before, None)
    }
    left = []
    for spec in runs:
        if spec.name not in names:
            continue
        baseline = None if spec.start is None else spec.start.baseline
        if baseline is None or baseline.name in names or study.result(baseline) is not None:
            left.append(spec)
        else:
            say(f"left out: {spec.name}, whose baseline is another job's; submit again when that has ended")
    return left
