"""Life of a node in an allocation's Ray cluster: environment, folder, processes, end."""

import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from clr_hpc.places.environment import environment
from clr_hpc.places.network import LOOPBACK
from clr_hpc.places.ray.cluster import ON_THIS_MACHINE_ALONE, SETTINGS
from clr_hpc.places.signals import StopSignals
from clr_hpc.places.slurm.allocation.node_folder import node_folder
from clr_hpc.places.slurm.allocation.ray_node import RayNode, answers, start_ray_node
from clr_hpc.places.slurm.allocation.rendezvous import Rendezvous
from clr_hpc.places.slurm.allocation.resources import NodeError, NodeShare, own_address
from clr_hpc.places.slurm.job import log_to_stdout

log = logging.getLogger(__name__)

POLL_SECONDS = 0.5
MOST_STARTS = 3
TIDY_SECONDS = 2.0
"""Time to end Ray and remove its folder before SLURM kills all."""
UNBOUNDED = {
    # Ray's own watch looks at the whole machine's memory, and would kill workers for what others use
    "RAY_memory_monitor_refresh_ms": "0",
}


@contextmanager
def cluster_node(
    rendezvous: Rendezvous, job: str, address: str, head: str | None, give_up: Callable[[], bool]
) -> Iterator[RayNode]:
    """Make this machine a node of the job's cluster, with the environment to join it; nothing is left afterwards.

    Args:
        rendezvous: has the token.
        job: its number.
        address: of this machine, by which the other nodes reach it.
        head: ``host:port`` of the head; None: be the head.
        give_up: polled while the node starts; True ends the wait.

    Raises:
        NodeError: it does not start.
    """
    here_alone = ON_THIS_MACHINE_ALONE if address == LOOPBACK else {}
    given = {"RAY_AUTH_TOKEN_PATH": str(rendezvous.token), "RAY_AUTH_TOKEN": None, "RAY_ADDRESS": head}
    with (
        environment({**SETTINGS, **UNBOUNDED, **here_alone, **given}),
        node_folder(job) as folder,
    ):
        node = start_ray_node(int(job), NodeShare.from_environment(os.environ), address, head, folder, give_up)
        try:
            with environment({"RAY_ADDRESS": head or node.gcs_address}):
                yield node
        finally:
            node.end()


def join_cluster(rendezvous: Rendezvous) -> str:
    """Be another node of the cluster for as long as its head answers; return how it ended, as text.

    A node whose processes die is started again; the cluster does without one that can't be started.
    """
    log_to_stdout()
    stop = StopSignals()
    head = rendezvous.wait(lambda: stop.any)
    if head is None:
        return "the cluster was not started"

    def is_over() -> bool:
        is_late = stop.seconds_since_term > head.kill_wait_seconds - TIDY_SECONDS
        return is_late or answers(head.address) is False

    try:
        address = own_address([head.address.rpartition(":")[0]])
        for _ in range(MOST_STARTS):
            with cluster_node(rendezvous, os.environ["SLURM_JOB_ID"], address, head.address, is_over) as node:
                log.info("Ray is up on %s, for %s", address, head.address)
                while node.is_alive and not is_over():
                    time.sleep(POLL_SECONDS)
            if is_over():
                break
            log.warning("Ray's processes on this node have died")
    except NodeError as error:
        if not is_over():
            log.error("%s", error)
    log.info("this node has left the cluster")
    return "left"
