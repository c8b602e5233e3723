"""How many lanes find room on the nodes of a cluster."""

import pytest

from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.places.lanes import LaneError, NodeCapacity, fitting, shapes_without_plan

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


@pytest.mark.parametrize(
    ("resources", "lanes", "workers", "expected"),
    [
        (Resources(cpus=4), None, None, [LaneShape()] * 4),
        (Resources(cpus=4), 2, None, [LaneShape(cpus_per_worker=2)] * 2),
        (Resources(cpus=4), None, 2, [LaneShape(workers=2)] * 2),
        (Resources(cpus=16, gpus=2), None, None, [LaneShape(cpus_per_worker=8, gpus_per_worker=1)] * 2),
        (Resources(cpus=16, gpus=2), 4, 1, [LaneShape(cpus_per_worker=4, gpus_per_worker=0.5)] * 4),
        (Resources(cpus=16, gpus=8), 2, 4, [LaneShape(workers=4, cpus_per_worker=2, gpus_per_worker=1)] * 2),
    ],
)
def test_a_place_is_cut_into_equal_lanes(
    resources: Resources, lanes: int | None, workers: int | None, expected: list[LaneShape]
) -> None:
    assert shapes_without_plan(resources, lanes, workers) == expected


def test_lanes_that_a_lost_node_leaves_no_room_for_are_kept_for_when_it_is_back() -> None:
    assert shapes_without_plan(Resources(cpus=2), 3, 1, may_grow=True) == [LaneShape()] * 3
    assert shapes_without_plan(Resources(cpus=8), 3, 1, may_grow=True) == [LaneShape(cpus_per_worker=2)] * 3
    on_gpus = shapes_without_plan(Resources(cpus=8, gpus=4), 4, 2, may_grow=True)
    assert on_gpus == [LaneShape(workers=2, cpus_per_worker=2, gpus_per_worker=1)] * 4


@pytest.mark.parametrize(
    ("resources", "lanes", "workers", "reason"),
    [
        (Resources(cpus=2), 3, 1, "need 3 CPUs; there are 2"),
        (Resources(cpus=16, gpus=2), 2, 2, "need 4 GPUs"),
    ],
)
def test_lanes_that_cannot_be_had_are_refused(resources: Resources, lanes: int, workers: int, reason: str) -> None:
    with pytest.raises(LaneError, match=reason):
        shapes_without_plan(resources, lanes, workers)
