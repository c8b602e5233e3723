"""Resources of an allocation on one of its nodes, and the address by which the other nodes reach it."""

import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from clr_hpc.places.network import LOOPBACK

ANY_PORT = 9
"""Nothing is sent there."""


class NodeError(Exception):
    """This node can't be part of the job's cluster, for the reason in the message."""


@dataclass(frozen=True)
class NodeShare:
    """Share of a node that the job may use. Ray by itself would use all of it, also what other jobs have."""

    cpus: int
    gpus: int
    memory_bytes: int | None
    """None: SLURM sets no limit."""

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> "NodeShare":
        """Read slurmd's variables for a task, of which there is one per node."""
        cpus = int(values.get("SLURM_CPUS_PER_TASK") or values.get("SLURM_CPUS_ON_NODE") or 1)
        gpus = values.get("SLURM_GPUS_ON_NODE", "")
        visible = [name for name in values.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
        megabytes = int(values.get("SLURM_MEM_PER_NODE") or 0) or int(values.get("SLURM_MEM_PER_CPU") or 0) * cpus
        return cls(
            cpus=cpus,
            gpus=int(gpus) if gpus.isdigit() else len(visible),
            memory_bytes=megabytes * 2**20 or None,
        )


def own_address(others: Sequence[str]) -> str:
    """Return the address of this node on the network by which it reaches ``others``, names or addresses.

    A node's own name often resolves to 127.0.1.1, and a node has several networks; the kernel knows which of
    them leads to another node. Without others the address is 127.0.0.1.

    Raises:
        NodeError: none of them can be reached.
    """
    if not others:
        return LOOPBACK
    errors = []
    for other in others:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((other, ANY_PORT))  # selects a route; nothing is sent
                address: str = probe.getsockname()[0]
        except OSError as error:
            errors.append(f"{other}: {error}")
            continue
        return address
    raise NodeError(f"no IPv4 route to the job's other nodes: {'; '.join(errors)}")
