"""What an allocation gives a job on one of its nodes, and by which address the other nodes reach it."""

import fcntl
import socket
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SIOCGIFADDR = 0x8915
"""Of ioctl(2): the IPv4 address of a network interface."""
ANY_PORT = 9
"""Nothing is sent there."""
LOOPBACK = "127.0.0.1"


class NodeError(Exception):
    """This node can't be part of the job's cluster; the message says why."""


@dataclass(frozen=True)
class NodeShare:
    """What the job may use of a node. Ray would take the whole machine, and jobs of others with it."""

    cpus: int
    gpus: int
    memory_bytes: int | None
    """None: SLURM doesn't bound it."""

    @classmethod
    def from_environment(cls, values: Mapping[str, str]) -> "NodeShare":
        """Read what slurmd tells a task, of which there is one a node."""
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

    A node's own name often stands for 127.0.1.1, and a node has several networks; the kernel knows by which of
    them another node is reached. Without others that is 127.0.0.1.

    Raises:
        NodeError: none of them can be reached.
    """
    if not others:
        return LOOPBACK
    errors = []
    for other in others:
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
                probe.connect((other, ANY_PORT))  # chooses a way; nothing is sent
                address: str = probe.getsockname()[0]
        except OSError as error:
            errors.append(f"{other}: {error}")
            continue
        return address
    raise NodeError(f"no way to the job's other nodes by IPv4: {'; '.join(errors)}")


def interface_of(address: str) -> str | None:
    """Return the name of the network interface with an address; None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                told = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # without an IPv4 address
                continue
            if socket.inet_ntoa(told[20:24]) == address:
                return name
    return None


def network_settings(address: str) -> dict[str, str]:
    """Return environment variables that keep torch's connections on the network of an address.

    gloo would look this node's name up, which takes 10 s where no server knows it, and may listen on 127.0.1.1.
    """
    name = interface_of(address)
    return (
        {} if name is None else {"GLOO_SOCKET_IFNAME": name, "NCCL_SOCKET_IFNAME": name, "TP_SOCKET_IFNAME": name}
    )
