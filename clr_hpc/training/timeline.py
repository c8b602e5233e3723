"""Timeline of a run: how much wall time goes into each of its parts.

Code says ``with timeline("forward"):`` around a part. Without a profile the timeline is ``untimed``, which does
nothing. A ``Timeline`` marks both borders. On a GPU a mark is an event that the device reaches after all work
before it, so nothing waits: what a part takes is then the device's time, and that in which it idles for the host.
"""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal, get_args

import torch

Part = Literal[
    "start-up", "gather", "prepare", "forward", "backward", "optimizer", "evaluation", "checkpoints", "logging"
]
PARTS: tuple[Part, ...] = get_args(Part)
REST = "rest"
"""Time in no part."""
AnyTimeline = Callable[[Part], AbstractContextManager[Any]]
_NOTHING = nullcontext()
_READ_AT = 64
"""Marks kept before those that the device has reached are read."""


def untimed(_part: Part) -> AbstractContextManager[None]:
    """Return a block that is not timed."""
    return _NOTHING


class Clock:
    """Marks moments, which are read later: host time, for devices whose work is done when a call returns."""

    def mark(self) -> Any:
        """Mark this moment, without waiting for anything."""
        return time.perf_counter()

    def is_reached(self, mark: Any) -> bool:  # noqa: ARG002
        """Say whether a mark can be read."""
        return True

    def between(self, first: Any, second: Any) -> float:
        """Return the seconds between two marks that were reached."""
        return float(second - first)

    def wait(self) -> None:
        """Wait until all marks are reached."""


class CudaClock(Clock):
    """Events on the stream that a GPU computes on."""

    def __init__(self, device: torch.device) -> None:
        """Mark moments of ``device``, which is idle from here on."""
        self._device = device
        self.wait()

    def mark(self) -> torch.cuda.Event:
        """Record an event after the work that the device has so far."""
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record(torch.cuda.current_stream(self._device))
        return event

    def is_reached(self, mark: torch.cuda.Event) -> bool:
        """Say whether the device has reached an event."""
        return bool(mark.query())  # type: ignore[no-untyped-call]

    def between(self, first: torch.cuda.Event, second: torch.cuda.Event) -> float:
        """Return the seconds between two events."""
        return float(first.elapsed_time(second)) / 1000

    def wait(self) -> None:
        """Wait for the device."""
        torch.cuda.synchronize(self._device)


class Timeline:
    """The wall time of a run, each moment of which belongs to one part or to the rest.

    Of nested parts the outermost counts, so that what an evaluation reads is evaluation. Other threads are not
    counted.
    """

    def __init__(self, clock: Clock, started: float) -> None:
        """Begin; what has passed since ``started`` (of ``time.perf_counter``) is start-up."""
        self.seconds: dict[str, float] = dict.fromkeys((*PARTS, REST), 0.0)
        self.seconds["start-up"] = time.perf_counter() - started
        self.times: Counter[str] = Counter()
        """How often each part was entered."""
        self._clock, self._thread = clock, threading.get_ident()
        self._part: Part | None = None
        self._read = clock.mark()
        self._marks: deque[tuple[str, Any]] = deque()
        """Not read yet: the part that ended, and its mark."""

    @classmethod
    def of(cls, device: torch.device, started: float) -> "Timeline":
        """Return the timeline of a device."""
        return cls(CudaClock(device) if device.type == "cuda" else Clock(), started)

    def __call__(self, part: Part) -> AbstractContextManager[None]:
        """Return the block of a part."""
        if self._part is not None or threading.get_ident() != self._thread:
            return _NOTHING
        return self._block(part)

    @contextmanager
    def _block(self, part: Part) -> Iterator[None]:
        self._cut(REST)
        self._part = part
        self.times[part] += 1
        try:
            yield
        finally:
            self._cut(part)
            self._part = None

    def end(self) -> None:
        """Read all marks; what follows is not counted."""
        self._cut(REST)
        self._clock.wait()
        self._read_marks()

    def _cut(self, ended: str) -> None:
        self._marks.append((ended, self._clock.mark()))
        if len(self._marks) >= _READ_AT:
            self._read_marks()

    def _read_marks(self) -> None:
        while self._marks and self._clock.is_reached(self._marks[0][1]):
            ended, mark = self._marks.popleft()
            self.seconds[ended] += self._clock.between(self._read, mark)
            self._read = mark
