"""Fresh and warm processes, and the time and memory that processes take, as Linux counts them."""

import multiprocessing
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import TracebackType
from typing import Any, Self

CLR_HPC = [sys.executable, "-m", "clr_hpc"]
POLL_SECONDS = 0.01


def apart(function: Callable[..., Any], *arguments: object) -> Any:
    """Return what a function returns in a fresh process, whose time and memory are its own."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


class Workers:
    """Warm processes, each of which runs ``serve(*arguments, connection)`` until it receives None."""

    def __init__(self, serve: Callable[..., None], arguments: list[tuple[object, ...]]) -> None:
        """Start one process per tuple of arguments."""
        context = multiprocessing.get_context("spawn")
        self._started = []
        for own in arguments:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(*own, theirs), daemon=True)
            process.start()
            theirs.close()  # so that the end of a process is noticed, not waited for
            self._started.append((ours, process))

    def answers(self, orders: list[Any]) -> list[Any]:
        """Send each of the first processes an order; return their answers."""
        busy = [connection for connection, _ in self._started[: len(orders)]]
        for connection, order in zip(busy, orders, strict=True):
            connection.send(order)
        return [connection.recv() for connection in busy]

    def close(self) -> None:
        """End them."""
        for connection, process in self._started:
            connection.send(None)
            process.join(timeout=60)


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

    def costs(self, what: str) -> dict[str, float]:
        """Return the peaks in megabytes."""
        peaks = {"resident": self.peak.resident, "anonymous": self.peak.anonymous}
        return {f"{what}, MB {kind}": peak / 1e6 for kind, peak in peaks.items()}

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


class RunTimes:
    """When the runs of a folder took their first step and ended, as seen from outside."""

    def __init__(self, runs: Path) -> None:
        self.first_steps: dict[str, float] = {}
        self.results: dict[str, float] = {}
        self.runs = runs

    def look(self, now: float) -> None:
        """Note what has appeared since the last look."""
        for folder in self.runs.glob("*"):
            for seen, name in ((self.first_steps, "metrics.jsonl"), (self.results, "result.json")):
                file = folder / name
                if folder.name not in seen and file.exists() and file.stat().st_size:
                    seen[folder.name] = now

    def gaps(self) -> list[float]:
        """Return the seconds from each run's result to the first step of the next."""
        order = sorted(self.results, key=lambda name: self.results[name])
        return [self.first_steps[after] - self.results[before] for before, after in pairwise(order)]
