"""The ports of a Ray node in a job: a range of the job's own, and another one where a port of it is taken."""

import socket
from collections.abc import Iterator
from dataclasses import dataclass

FIRST, LAST = 10_000, 32_000
"""Below those that Linux takes for outgoing connections, from 32768 on."""
STRIDE = 17
"""Ranges to the next try, so that jobs with numbers in a row, which are neighbours, don't all move to the same."""
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
"""Which ``ray start`` has no options for; without them two heads of a node would want the same port."""
NAMED = (*OPTIONS_OF_A_NODE, *OPTIONS_OF_THE_HEAD, *SETTINGS_OF_THE_HEAD)


@dataclass(frozen=True)
class NodePorts:
    """The ports of one node, in a row."""

    first: int
    workers: int
    """How many of them are for worker processes, of which each takes one."""

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
        """Say whether nobody on this machine listens at any of them, by binding each."""
        return all(_is_free(port) for port in self.all)


def port_ranges(job: int, cpus: int) -> Iterator[NodePorts]:
    """Yield the ranges that a node of a job tries, its own first; each once.

    Args:
        job: its number, which decides the first range.
        cpus: of the node. Ray starts a process for each, and lanes some besides.
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
