"""What a trial's run has of a Ray cluster, which decides what fits into memory and what a search costs."""

import pytest

from clr_hpc.config.resources import Resources
from clr_hpc.places.lanes import LaneError
from clr_hpc.places.machine import Processes
from clr_hpc.places.options import SearchOptions
from clr_hpc.places.ray.place import Ray, RayTrials


@pytest.mark.parametrize(
    ("own", "lanes", "workers", "sharing", "processors", "processor"),
    [
        (Resources(cpus=8), None, None, Processes(8, 1), 1, "CPU"),
        (Resources(cpus=8), 2, None, Processes(2, 4), 4, "CPU"),
        (Resources(cpus=8), 2, 2, Processes(4, 2), 4, "CPU"),
        (Resources(cpus=16, gpus=4), None, None, Processes(4, 4), 1, "GPU"),
        (Resources(cpus=16, gpus=4), 2, 2, Processes(4, 4), 2, "GPU"),
        (Resources(cpus=16, gpus=4), 8, None, Processes(8, 2), 0.5, "GPU"),
    ],
)
def test_lanes_share_what_the_cluster_has(
    own: Resources, lanes: int | None, workers: int | None, sharing: Processes, processors: float, processor: str
) -> None:
    options = SearchOptions(cpus=own.cpus, gpus=own.gpus, lanes=lanes, workers_per_lane=workers)
    with Ray().trials(options) as place:
        assert (place.sharing, place.processors, place.processor) == (sharing, processors, processor)


def test_memory_is_shared_by_the_lanes_of_a_node() -> None:
    with Ray().trials(SearchOptions(cpus=8, lanes=8)) as place:
        shapes = place.shapes
    assert RayTrials(Resources(cpus=8, nodes=4), shapes, str, may_grow=True).sharing == Processes(2, 1)


def test_more_lanes_than_there_is_room_for_are_refused() -> None:
    with (
        pytest.raises(LaneError, match="there are 2: ask for fewer"),
        Ray().trials(SearchOptions(cpus=2, lanes=3)),
    ):
        pass
