"""How many lanes of which shape are cut out of a place."""

from collections import Counter
from collections.abc import Sequence
from math import ceil, floor

from clr_hpc.config.resources import LaneShape, Resources


def cut_lanes(
    resources: Resources, shapes: Sequence[LaneShape], wanted: Sequence[float], most: Sequence[int]
) -> list[int]:
    """Return how many lanes of each shape there will be; at least one lane in all.

    Args:
        resources: of the place; no lane lies across two nodes.
        shapes: of lanes.
        wanted: (shapes,) GPUs or CPUs that lanes of each shape are to have, together the capacity or less.
        most: (shapes,) lanes that there is work for.
    """
    space = _Space(resources)
    counts = [0] * len(shapes)
    # the widest first: what they leave in a node the narrow ones fill
    order = sorted(range(len(shapes)), key=lambda column: -resources.taken(shapes[column]))
    for column in order:
        if most[column]:
            lanes = round(wanted[column] / resources.taken(shapes[column]))
            counts[column] = space.take(shapes[column], min(lanes, most[column]))
    # what rounding has left goes to the shapes that still have work for it, and one lane there must be
    for column in order:
        spare = most[column] - counts[column]
        if wanted[column] and spare > 0:
            counts[column] += space.take(shapes[column], spare)
    if not any(counts):
        narrowest = order[-1]
        counts[narrowest] = space.take(shapes[narrowest], 1)
    return counts


class _Space:
    """GPUs (or CPUs) that are free, by node. Lanes that share GPUs take whole ones between them."""

    def __init__(self, resources: Resources) -> None:
        self._resources = resources
        self._nodes_with = Counter({resources.capacity // resources.nodes: resources.nodes})
        self._room_in_shared: Counter[int] = Counter()

    def take(self, shape: LaneShape, lanes: int) -> int:
        """Make room for as many of ``lanes`` as fit, and return their number."""
        taken = self._resources.taken(shape)
        if taken < 1:
            return self._take_shares(shape.runs_per_gpu, lanes)
        return self._take_whole(floor(taken), lanes)

    def _take_shares(self, share: int, lanes: int) -> int:
        whole = self._take_whole(1, ceil((lanes - self._room_in_shared[share]) / share))
        got = min(lanes, whole * share + self._room_in_shared[share])
        self._room_in_shared[share] += whole * share - got
        return got

    def _take_whole(self, units: int, lanes: int) -> int:
        got = 0
        # the fullest node that still has room, so that wide lanes find empty ones
        for free in sorted(size for size in self._nodes_with if size >= units):
            in_a_node = free // units
            nodes = min(self._nodes_with[free], ceil((lanes - got) / in_a_node))
            if nodes <= 0:
                break
            placed = min(lanes - got, nodes * in_a_node)
            full, rest = divmod(placed, in_a_node)
            self._nodes_with[free] -= full + bool(rest)
            self._nodes_with[free - in_a_node * units] += full
            self._nodes_with[free - rest * units] += bool(rest)
            got += placed
        self._nodes_with = +self._nodes_with
        return got
