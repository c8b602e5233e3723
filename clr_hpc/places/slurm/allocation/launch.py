"""An allocation: one job over several nodes, in which a Ray cluster starts, trains a study's runs and ends.

SLURM starts a task on each node. The first one's node is the head: it announces its address on the shared disk
and starts a separate process, the driver, that trains in the cluster's lanes. The others are nodes of the cluster
for as long as the head answers. Signals and requeues are those of any job (``clr_hpc.places.slurm.job``).
"""

import logging
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.slurm.allocation.driver import Driver, DriverTask
from clr_hpc.places.slurm.allocation.node import TIDY_SECONDS, cluster_node, join_cluster
from clr_hpc.places.slurm.allocation.ray_node import RayNode
from clr_hpc.places.slurm.allocation.rendezvous import Head, Rendezvous
from clr_hpc.places.slurm.allocation.resources import NodeError, own_address
from clr_hpc.places.slurm.commands import SlurmError, host_names, kill_wait_seconds
from clr_hpc.places.slurm.job import NOTHING_LEFT, JobError, StartedJob, pickled_for_owner_alone, run_start
from clr_hpc.places.slurm.ledger import Ledger

log = logging.getLogger(__name__)

End = Literal["finished", "saved", "cut off"]
"""``finished``: every run has ended; else what became of those under way."""
POLL_SECONDS = 0.5
MOST_DEATHS = 3
"""Deaths of the driver in one start after which the job is requeued."""
DEATH_SECONDS = 4.0
"""Within which Ray's other processes notice the end of one."""


@dataclass(frozen=True)
class Allocation:
    """Callable that submitit unpickles and calls on each node."""

    study_folder: str
    token: str

    def __call__(self) -> str:
        """Train until nothing is left to do, or be a node for it; return how it ended, as text.

        Raises:
            JobError: code or pack are not those of the submission, or several starts made no progress.
        """
        with pickled_for_owner_alone():
            rendezvous = Rendezvous.of_this_job(Ledger(Path(self.study_folder)))
            if int(os.environ.get("SLURM_PROCID", "0")) != 0:
                return join_cluster(rendezvous)
            try:
                return run_start(Path(self.study_folder), self.token, 0, partial(_lead, rendezvous))
            finally:
                rendezvous.close()


def _lead(rendezvous: Rendezvous, job: StartedJob, runs: tuple[RunSpec, ...]) -> str:
    """Be the head: have the cluster train, and return how it ended; does not return where the job is requeued."""
    missing = left_to_train(job, runs)
    if not missing:
        return NOTHING_LEFT
    rendezvous.open()
    try:
        names = host_names(os.environ.get("SLURM_JOB_NODELIST", job.node))
        address = own_address([name for name in names if name != job.node])
        log.info("job %s on %s; the head is %s, %s", job.job_name, ", ".join(names), job.node, address)
        with cluster_node(rendezvous, job.job_id, address, None, lambda: job.stop.any) as node:
            ended = _train(rendezvous, job, node, missing, len(names))
    except (SlurmError, NodeError) as error:
        if not job.stop.any:
            raise JobError(str(error)) from error
        ended = "saved"
    rendezvous.close()
    if job.bad_node:
        return job.move_to_another_node(job.bad_node)
    if ended != "finished" and job.stop.any:
        return job.save_and_requeue(is_saved=ended == "saved")
    if ended != "finished":
        log.warning("the cluster was lost; the job is queued again")
        return job.requeue()
    if any(job.ledger.nodes_at_fault(spec.name) for spec in left_to_train(job, runs)):
        log.warning("runs failed through the fault of a node; the job is queued again for them")
        return job.requeue()
    return NOTHING_LEFT


def _train(rendezvous: Rendezvous, job: StartedJob, node: RayNode, missing: list[RunSpec], nodes: int) -> End:
    submission = job.submission
    port, kill_wait = node.ports["dashboard-port"], kill_wait_seconds()
    rendezvous.announce(Head(node.gcs_address, job.node, port, kill_wait))
    log.info("dashboard: http://127.0.0.1:%d on %s; its token is in %s", port, job.node, rendezvous.token)
    worker = WorkerTask(
        Path(submission.pack_folder),
        job.study.runs,
        submission.settings,
        f"job {job.job_name}, lane {{number}}",
        job.ledger.cancelled_folder,
    )
    task = DriverTask(
        address=node.gcs_address,
        nodes=nodes,
        runs=tuple(missing),
        worker=worker,
        submission=submission,
        storage=rendezvous.lanes,
    )
    for _ in range(MOST_DEATHS):
        ended = follow(Driver(task), job, node, kill_wait)
        if ended is not None:
            return ended
        log.error("the process that has the cluster train has died; another one takes over")
    return "cut off"


def follow(driver: Driver, job: StartedJob, node: RayNode, kill_wait: float) -> End | None:
    """Follow the driver to its end; None where it died and another one may take over.

    Raises:
        JobError: nothing can be trained.
    """
    stop, error = job.stop, None
    with driver:
        for messages in driver.rounds(POLL_SECONDS):
            for message in messages:
                match message:
                    case "log", text:
                        log.info("%s", text)
                    case "training", names:
                        job.note_under_way(names)
                    case "run ended", spec, outcome:
                        job.note_ended(spec, outcome, (job.study.host_of(spec) or job.node).split(".")[0])
                    case "over", every_run_ended:
                        return "finished" if every_run_ended else "saved"
                    case "failed", text:
                        error = text
            if stop.any or job.bad_node:
                driver.stop()
            if not node.is_alive or stop.seconds_since_term > kill_wait - TIDY_SECONDS:
                return "cut off"
    if stop.any or node.dies_within(DEATH_SECONDS):  # which is what the driver died of
        return "cut off"
    if error is not None:
        raise JobError(error)
    return None


def left_to_train(job: StartedJob, runs: tuple[RunSpec, ...]) -> list[RunSpec]:
    """Return the submission's runs that are to be trained, without those whose baseline is another job's."""
    submission, ledger, study = job.submission, job.ledger, job.study
    cancelled = ledger.cancelled()
    names = {name for name in submission.elements[0] if name not in cancelled and job.is_open(name, None)}
    left = []
    for spec in runs:
        if spec.name not in names:
            continue
        baseline = None if spec.start is None else spec.start.baseline
        if baseline is None or baseline.name in names or study.result(baseline) is not None:
            left.append(spec)
        else:
            why = "whose baseline is another job's; submit again when that has ended"
            log.warning("left out: %s, %s", spec.name, why)
    return left
