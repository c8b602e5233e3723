"""Lanes that a cluster has room for."""

from collections.abc import Iterable
from dataclasses import dataclass

from clr_hpc.config.base import UserError
from clr_hpc.config.resources import LaneShape, Resources


class LaneError(UserError):
    """The requested lanes have no room, for the reason in the message."""


@dataclass(frozen=True)
class NodeCapacity:
    """Resources of a node for lanes."""

    node: str
    cpus: float
    gpus: float


def fitting(shapes: Iterable[LaneShape], nodes: Iterable[NodeCapacity]) -> list[LaneShape]:
    """Return the leading shapes that fit side by side on the nodes.

    Ray waits forever for a worker group that does not fit, so no more may be requested.
    """
    free = [[node.cpus, node.gpus] for node in nodes]
    found = []
    for shape in shapes:
        if not all(_place(shape, free) for _ in range(shape.workers)):
            break
        found.append(shape)
    return found


def _place(shape: LaneShape, free: list[list[float]]) -> bool:
    slack = 1e-9  # fractions of a GPU add up to one GPU except for rounding
    for room in free:
        if room[0] + slack >= shape.cpus_per_worker and room[1] + slack >= shape.gpus_per_worker:
            room[0] -= shape.cpus_per_worker
            room[1] -= shape.gpus_per_worker
            return True
    return False


def shapes_without_plan(
    resources: Resources, lanes: int | None, workers: int | None, may_grow: bool = False
) -> list[LaneShape]:
    """Divide a place into equal lanes.

    Args:
        resources: all of the place.
        lanes: number of lanes; None: as many as there are GPUs, or CPUs, for their workers.
        workers: workers per lane; None: one.
        may_grow: nodes may join, or come back: lanes without room now are no error, and take none from the others.

    Raises:
        LaneError: there is less than a CPU for each worker, or workers of a lane would share a GPU.
    """
    workers = workers or 1
    room_for = max(1, resources.capacity // workers)
    wanted = lanes or room_for
    lanes = min(wanted, room_for) if may_grow else wanted
    total = lanes * workers
    if total > resources.cpus:
        raise LaneError(
            f"{lanes} lanes of {workers} workers need {total} CPUs; there are {resources.cpus}: ask for fewer"
        )
    gpus = min(1.0, resources.gpus / total)
    if workers > 1 and 0 < gpus < 1:
        raise LaneError(
            f"{lanes} lanes of {workers} workers need {total} GPUs, since workers of a lane can't share one; "
            f"there are {resources.gpus}: ask for fewer, or for lanes of one worker"
        )
    return [LaneShape(workers=workers, cpus_per_worker=resources.cpus // total, gpus_per_worker=gpus)] * wanted
