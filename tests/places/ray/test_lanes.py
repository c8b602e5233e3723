import threading
from typing import Any

import pytest

from clr_hpc.config.resources import LaneShape
from clr_hpc.places.lanes import NodeCapacity
from clr_hpc.places.ray.lanes import LaneThreads


@pytest.mark.parametrize("is_over", [True, False])
def test_a_lane_that_fails_when_its_cluster_has_gone_is_silent(is_over: bool) -> None:
    """While the study lasts, the same error is one of ours and is shown."""
    shown: list[BaseException | None] = []
    cluster_ends = threading.Event()

    def train(_lane: int, _shape: LaneShape) -> None:
        cluster_ends.wait()
        raise ConnectionError("the lane's trainer has lost its cluster")

    def ask(question: str, *_values: Any) -> int:
        if cluster_ends.is_set():
            raise ConnectionError(f"{question}: there is no cluster")
        return 0

    lanes = LaneThreads([LaneShape(workers=1, cpus_per_worker=1, gpus_per_worker=0)], False, train, ask)
    before = threading.excepthook
    threading.excepthook = lambda args: shown.append(args.exc_value)
    try:
        lanes.keep_up([NodeCapacity("node", 4, 0)])
        if is_over:
            lanes.end(0)
        cluster_ends.set()
        for thread in lanes._threads:
            thread.join()
    finally:
        threading.excepthook = before
    assert len(shown) == (not is_over)
