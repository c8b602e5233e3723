"""The lanes of a command: which are started and when, each followed by a thread until it ends or is given up."""

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from clr_hpc.config.resources import LaneShape
from clr_hpc.places.lanes import NodeCapacity, fitting
from clr_hpc.places.ray.cluster import ClusterError

_GROWTH = 10_000
"""More lanes than fit into any cluster."""


class LaneThreads:
    """The lanes of a study, each followed by a thread of this process."""

    def __init__(
        self,
        shapes: Sequence[LaneShape],
        grow: bool,
        train: Callable[[int, LaneShape], None],
        ask: Callable[..., Any],
    ) -> None:
        """Start none yet.

        Args:
            shapes: the lanes to start, as many as there is room for.
            grow: start more like the last one while the cluster has room.
            train: runs a lane until the queue is finished; raises where the lane has failed.
            ask: ``ask("starts", lane)`` calls ``Dispatcher.starts(lane)``.
        """
        self._shapes, self._grow, self._train, self._ask = list(shapes), grow, train, ask
        self._threads: list[threading.Thread] = []
        self._errors: dict[int, Exception] = {}
        self._given_up: set[int] = set()
        self._is_over = False
        self._reported = 0
        """Number of lanes that were started or reported as without room."""

    def keep_up(self, nodes: list[NodeCapacity]) -> None:
        """Start the lanes that have found room since the last call.

        Raises:
            ClusterError: not even one has room, or all were given up.
        """
        wanted = [*self._shapes, *([self._shapes[-1]] * _GROWTH if self._grow else [])]
        room_for = fitting(wanted, nodes)
        if not self._threads and not room_for:
            first = wanted[0]
            raise ClusterError(
                f"no room for a lane of {first.text} "
                f"on {len(nodes)} nodes: {', '.join(f'{n.cpus:g} CPUs, {n.gpus:g} GPUs' for n in nodes)}; "
                "ask for smaller or fewer lanes"
            )
        for lane in range(len(self._threads), len(room_for)):
            thread = threading.Thread(target=self._follow, args=(lane, room_for[lane]), daemon=True)
            self._threads.append(thread)
            thread.start()
        if self._threads and len(self._given_up) == len(self._threads):
            raise ClusterError(
                f"every lane was given up; the last one failed with: {self._errors[max(self._given_up)]}"
            )

    def report_those_without_room(self) -> None:
        """Report planned lanes that have no room, so that others take their runs."""
        for lane in range(max(len(self._threads), self._reported), len(self._shapes)):
            self._ask("lane_lost", lane)
        self._reported = max(self._reported, len(self._shapes))

    def end(self, seconds: float) -> None:
        """Wait until the lanes have ended by themselves; what happens to the others no longer matters."""
        self._is_over = True
        until = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _follow(self, lane: int, shape: LaneShape) -> None:
        try:
            self._restart(lane, shape)
        except Exception:
            if not self._is_over:  # else the cluster that it asks has gone
                raise

    def _restart(self, lane: int, shape: LaneShape) -> None:
        """Restart a lane as long as its workers start each time."""
        starts_before = -1
        while (starts := self._ask("starts", lane)) > starts_before:
            starts_before = starts
            try:
                self._train(lane, shape)
            except Exception as error:  # whatever it was, the other lanes continue
                self._errors[lane] = error
            else:
                return
        self._ask("lane_lost", lane)
        self._given_up.add(lane)
