"""What processes take: wall time of a command, and memory while they live, as Linux counts it."""

import subprocess
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

POLL_SECONDS = 0.01


@dataclass
class Memory:
    """Peaks of one process, in bytes."""

    resident: int = 0
    """All pages that it has in memory, those of mapped files included."""
    anonymous: int = 0
    """Those that are in no file: what it allocated."""

    def see(self, process: int | str) -> None:
        """Look at a process of this machine, by id or ``self``; one that is gone changes nothing."""
        try:
            lines = Path(f"/proc/{process}/status").read_text().splitlines()
        except OSError:
            return
        kibibytes = {name: int(value.split()[0]) for name, _, value in (line.partition(":") for line in lines) if
                     name in ("VmHWM", "RssAnon")}  # fmt: skip
        self.resident = max(self.resident, kibibytes.get("VmHWM", 0) * 1024)
        self.anonymous = max(self.anonymous, kibibytes.get("RssAnon", 0) * 1024)


class OwnMemory:
    """Watches this process: the kernel keeps a peak of resident memory alone."""

    def __init__(self) -> None:
        self.peak = Memory()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def _watch(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            self.peak.see("self")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()
        self.peak.see("self")


def children(process: int) -> list[int]:
    """Return the ids of a process's children and theirs."""
    found: list[int] = []
    for path in Path(f"/proc/{process}/task").glob("*/children"):
        try:
            own = [int(child) for child in path.read_text().split()]
        except OSError:
            continue
        for child in own:
            found += [child, *children(child)]
    return found


def proportional_bytes(processes: list[int]) -> int:
    """Return the memory of processes together; of pages that several processes share, each has its part."""
    found = 0
    for process in processes:
        try:
            lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
        except OSError:  # it has ended
            continue
        found += sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))
    return found


def seconds_of(command: list[str]) -> float:
    """Return the wall time of a command that succeeds."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start
