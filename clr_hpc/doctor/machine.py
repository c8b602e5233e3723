"""Cores, memory and ports: what this machine has, and what of it this process is allowed."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

from clr_hpc.config.resources import usable_cores
from clr_hpc.doctor.check import Check, failure, ok, warning

CGROUPS, OWN_CGROUP = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
LOOPBACK = "127.0.0.1"
TENSORBOARD_PORT = 6006
GIB_PER_PROCESS = 1.0
"""Roughly what a process with torch takes that trains a small network at 64 × 64; larger ones take more."""

BUSY_CORES = 0.5
"""From so much computing of others, a machine counts as shared."""


def cores() -> Iterator[Check]:
    """Compare the cores that processes are started for with those that they are allowed."""
    usable, all_cores = usable_cores(), os.cpu_count() or 1
    allowed = cpu_quota()
    given = int(os.environ.get("SLURM_CPUS_PER_TASK") or 0)
    threads = os.environ.get("OMP_NUM_THREADS", "")
    fewer = [
        warning("cores", f"{usable} can be seen, the cgroup allows the time of {allowed:g}", _fewer(int(allowed)))
        if allowed is not None and allowed < usable
        else None,
        warning(
            "cores", f"SLURM gave {given}, this process may use {usable}", f"srun --cpus-per-task={given} COMMAND"
        )
        if given > usable
        else None,
        warning("cores", f"OMP_NUM_THREADS={threads}, this process may use {usable}", "unset OMP_NUM_THREADS")
        if threads.isdigit() and int(threads) > usable
        else None,
        _busy(usable, all_cores),
    ]
    found = [one for one in fewer if one is not None]
    yield from found or [ok("cores", f"{usable} of this machine's {all_cores}")]


def _busy(usable: int, all_cores: int) -> Check | None:
    """Return a warning where others compute on these cores: threads of one run then wait long for each other."""
    load = os.getloadavg()[1]
    if usable < 2 or all_cores - load > usable - BUSY_CORES:
        return None
    return warning(
        "cores",
        f"{load:.1f} of this machine's {all_cores} were busy in the last five minutes",
        "train when they are free; runs with several cores each: export OMP_WAIT_POLICY=PASSIVE",
    )


def _fewer(allowed: int) -> str:
    return f"train with --processes {max(1, allowed)}, or ask for more CPUs"


def cpu_quota(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> float | None:
    """Return how many cores' time the control groups of this process allow, of both versions; None: any."""
    found = []
    for folder in _folders("cpu", cgroups, own):
        text = (
            _read(folder / "cpu.max")
            or f"{_read(folder / 'cpu.cfs_quota_us')} {_read(folder / 'cpu.cfs_period_us')}"
        )
        quota, _, period = text.partition(" ")
        if quota.isdigit() and period.isdigit():
            found.append(int(quota) / int(period))
    return min(found, default=None)


def memory_limit(cgroups: Path = CGROUPS, own: Path = OWN_CGROUP) -> int | None:
    """Return the bytes that the control groups of this process allow, of both versions; None: all."""
    limits = [
        _read(folder / name)
        for folder in _folders("memory", cgroups, own)
        for name in ("memory.max", "memory.limit_in_bytes")
    ]
    # version 1 writes 2⁶³, less a page, for no limit
    return min((int(text) for text in limits if text.isdigit() and int(text) < 2**62), default=None)


def _folders(controller: str, cgroups: Path, own: Path) -> Iterator[Path]:
    """Yield the folders of this process's groups that a controller has, up to the root."""
    for line in _read(own).splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mounted = cgroups / controller if controllers else cgroups
        inside = mounted / path.lstrip("/")
        yield from (folder for folder in (inside, *inside.parents) if folder.is_relative_to(mounted))


def _read(file: Path) -> str:
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def memory(processes: int) -> Iterator[Check]:
    """Compare the memory that is free with what training processes take.

    Args:
        processes: that would train here at a time.
    """
    known = dict(line.split(":") for line in _read(Path("/proc/meminfo")).splitlines())
    if "MemAvailable" not in known:
        return
    total, free = (int(known[key].split()[0]) * 1024 for key in ("MemTotal", "MemAvailable"))
    limit = memory_limit() or total
    free, total = min(free, limit), min(total, limit)
    text = f"{free / 2**30:.1f} of {total / 2**30:.1f} GiB are free"
    if free < processes * GIB_PER_PROCESS * 2**30:
        count = max(1, int(free / 2**30 / GIB_PER_PROCESS))
        remedy = f"train with --processes {count}, or on a machine with more memory"
        yield warning("memory", f"{text}, for {processes} processes of {GIB_PER_PROCESS:g} GiB or more", remedy)
    else:
        yield ok("memory", text)


def ports() -> Iterator[Check]:
    """See that processes of this machine can talk to each other, and that TensorBoard's port is free."""
    try:
        with (
            socket.create_server((LOOPBACK, 0)) as server,
            socket.create_connection(server.getsockname(), timeout=2),
        ):
            pass
    except OSError as error:
        remedy = "allow connections to 127.0.0.1 on this machine: its firewall or container forbids them"
        yield failure("ports", f"processes of this machine can't connect to each other: {error}", remedy)
        return
    try:
        socket.create_server((LOOPBACK, TENSORBOARD_PORT)).close()
    except OSError:
        yield warning(
            "ports", f"{TENSORBOARD_PORT}, TensorBoard's, is taken", "clr-hpc tensorboard STUDY --port 0"
        )
    else:
        yield ok("ports", f"processes can connect; {TENSORBOARD_PORT}, TensorBoard's, is free")
