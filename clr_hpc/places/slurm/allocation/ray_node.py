"""A Ray node as a child of this process: ``ray start --block``, with ports, memory and signals of the job's own.

SLURM sends its signals to all processes of a job: SIGUSR2 would end Ray's, and SIGTERM would end a cluster before
its runs are saved. Both are blocked in the child, and so in all of Ray's processes. They are ended by SIGKILL of
the child, with which the kernel kills those that it started. ``ray stop`` is never called, since it also ends
those of other jobs.
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from clr_hpc.places.ray.cluster import OBJECT_STORE_BYTES
from clr_hpc.places.signals import blocked_signals
from clr_hpc.places.slurm.allocation.resources import NodeError, NodeShare

FIRST, LAST = 10_000, 32_000
"""Ports below those that Linux uses for outgoing connections, from 32768 on."""
STRIDE = 17
"""Ranges to the next attempt, so that jobs with consecutive numbers do not all move to the same one."""
OPTIONS_OF_A_NODE = (
    "node-manager-port",
    "object-manager-port",
    "runtime-env-agent-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "metrics-export-port",
)
OPTIONS_OF_THE_HEAD = ("port", "dashboard-port", "ray-client-server-port")
SETTINGS_OF_THE_HEAD = ("AUTOSCALER_METRIC_PORT", "DASHBOARD_METRIC_PORT")
"""Ports without an option of ``ray start``; without them two heads on a node would use the same one."""
NAMED = (*OPTIONS_OF_A_NODE, *OPTIONS_OF_THE_HEAD, *SETTINGS_OF_THE_HEAD)


@dataclass(frozen=True)
class NodePorts:
    """The ports of one node, in a row."""

    first: int
    workers: int
    """Number of ports for worker processes, one each."""

    def __getitem__(self, name: str) -> int:
        """Return the port of a server by the name of its option or setting."""
        return self.first + NAMED.index(name)

    @property
    def all(self) -> range:
        """Every port."""
        return range(self.first, self.first + len(NAMED) + self.workers)

    def options(self, is_head: bool) -> list[str]:
        """Return options of ``ray start``."""
        names = OPTIONS_OF_A_NODE + (OPTIONS_OF_THE_HEAD if is_head else ())
        first_of_workers = self.first + len(NAMED)
        return [
            *(f"--{name}={self[name]}" for name in names),
            f"--min-worker-port={first_of_workers}",
            f"--max-worker-port={first_of_workers + self.workers - 1}",
        ]

    def settings(self) -> dict[str, str]:
        """Return environment variables."""
        return {name: str(self[name]) for name in SETTINGS_OF_THE_HEAD}

    def are_free(self) -> bool:
        """Return whether no process on this machine listens at any of them, by binding each."""
        return all(_is_free(port) for port in self.all)


def port_ranges(job: int, cpus: int) -> Iterator[NodePorts]:
    """Yield the ranges that a node of a job tries, its own first; each once.

    Args:
        job: its number, which determines the first range.
        cpus: of the node. Ray starts a process for each, and lanes start some more.
    """
    workers = 4 * cpus + 48
    width = len(NAMED) + workers
    count = (LAST - FIRST) // width
    seen = set()
    for attempt in range(count):
        number = (job + attempt * STRIDE) % count
        if number not in seen:
            seen.add(number)
            yield NodePorts(FIRST + number * width, workers)


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # as servers do, which connections that ended allow
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


START_SECONDS = 180.0
"""Limit for one start, on a busy node; 10 s are usual."""
POLL_SECONDS = 0.2
MOST_STARTS = 4
LOG_LINES = 15


@dataclass(frozen=True)
class RayNode:
    """A running node."""

    process: "subprocess.Popen[bytes]"
    ports: NodePorts
    address: str

    @property
    def gcs_address(self) -> str:
        """Address at which the head accepts other nodes and drivers."""
        return f"{self.address}:{self.ports['port']}"

    @property
    def is_alive(self) -> bool:
        """Whether all of its own processes run: without one of them, ``ray start`` ends the rest."""
        return self.process.poll() is None

    def dies_within(self, seconds: float) -> bool:
        """Wait so long for its end; return whether it came."""
        with suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return not self.is_alive

    def end(self) -> None:
        """Kill it, and with it its workers."""
        self.process.kill()
        self.process.wait()


def start_ray_node(
    job: int,
    share: NodeShare,
    address: str,
    head: str | None,
    folder: Path,
    give_up: Callable[[], bool],
) -> RayNode:
    """Start a node and wait until it is up; move on to other ports where one is taken.

    The environment of this process is that of Ray's, and of the workers on the node.

    Args:
        job: its number, which determines the ports.
        share: the part of this machine that Ray may use.
        address: of this node, by which the others reach it.
        head: ``address:port`` of the head to join; None: be the head.
        folder: short and local; sockets and logs go to ``ray/`` in it.
        give_up: polled; True ends the wait.

    Raises:
        NodeError: it does not start; the message ends with its last output.
    """
    log, reason = folder / "ray.log", "all ports are taken"
    free = (ports for ports in port_ranges(job, share.cpus) if ports.are_free())
    for ports in islice(free, MOST_STARTS):
        words = command(ports, share, address, head, folder / "ray")
        process = _started(words, {**os.environ, **ports.settings(), "TMPDIR": str(folder)}, log)
        node = RayNode(process, ports, address)
        try:
            if _comes_up(node, head is None, give_up):
                return node
        except BaseException:
            node.end()
            raise
        node.end()
        reason = " / ".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:])
        if give_up():
            break
    raise NodeError(f"Ray does not start on {socket.gethostname()}: {reason}")


def command(ports: NodePorts, share: NodeShare, address: str, head: str | None, temp: Path) -> list[str]:
    """Return the words that start a node."""
    memory = [] if share.memory_bytes is None else [f"--memory={max(1, share.memory_bytes - OBJECT_STORE_BYTES)}"]
    role = [f"--address={head}"] if head else ["--head", "--include-dashboard=true", "--dashboard-host=127.0.0.1"]
    return [
        *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", "--disable-usage-stats"),
        *role,
        f"--node-ip-address={address}",
        *ports.options(is_head=head is None),
        f"--num-cpus={share.cpus}",
        f"--num-gpus={share.gpus}",
        *memory,
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        f"--temp-dir={temp}",
    ]


def answers(address: str) -> bool | None:
    """Return whether a process listens at ``host:port``; None where the machine does not answer."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=2).close()
    except ConnectionRefusedError:
        return False
    except OSError:
        return None
    return True


def _started(words: list[str], environment: Mapping[str, str], log: Path) -> "subprocess.Popen[bytes]":
    with blocked_signals(), log.open("wb") as output:
        return subprocess.Popen(
            words, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )


def _comes_up(node: RayNode, is_head: bool, give_up: Callable[[], bool]) -> bool:
    """Wait until the servers listen; False where it ends, or takes too long."""
    servers = [f"{node.address}:{node.ports['node-manager-port']}", *([node.gcs_address] if is_head else [])]
    deadline = time.monotonic() + START_SECONDS
    while node.is_alive and time.monotonic() < deadline and not give_up():
        with suppress(OSError):
            if all(answers(server) for server in servers):
                return True
        time.sleep(POLL_SECONDS)
    return False
