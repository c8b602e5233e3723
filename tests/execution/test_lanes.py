"""How many lanes find room on the nodes of a cluster."""

import pytest

from clr_hpc.execution.lanes import NodeCapacity, fitting
from clr_hpc.spec.resources import LaneShape

NARROW, WIDE = LaneShape(), LaneShape(workers=2)
THIRD = LaneShape(gpus_per_worker=1 / 3)


@pytest.mark.parametrize(
    ("shapes", "nodes", "count"),
    [
        ([NARROW] * 5, [(3, 0), (1, 0)], 4),
        ([WIDE, WIDE], [(1, 0), (1, 0), (1, 0)], 1),
        ([LaneShape(cpus_per_worker=2)] * 3, [(3, 0), (3, 0)], 2),
        ([THIRD] * 9, [(16, 2)], 6),
        ([LaneShape(gpus_per_worker=1)], [(16, 0)], 0),
        ([LaneShape(workers=8), NARROW], [(4, 0)], 0),
    ],
)
def test_no_more_lanes_than_have_room(
    shapes: list[LaneShape], nodes: list[tuple[float, float]], count: int
) -> None:
    capacities = [NodeCapacity(str(number), *node) for number, node in enumerate(nodes)]
    assert fitting(shapes, capacities) == shapes[:count]
