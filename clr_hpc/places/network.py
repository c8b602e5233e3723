"""Where torch's connections between the processes of a lane listen: on one address, not on all of the machine."""

import fcntl
import os
import socket
import struct
from datetime import timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

LOOPBACK = "127.0.0.1"
SIOCGIFADDR = 0x8915
"""Request of ioctl(2) for the IPv4 address of a network interface."""


def interface_of(address: str) -> str | None:
    """Return the name of the network interface with an address; None where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                found = fcntl.ioctl(probe, SIOCGIFADDR, struct.pack("256s", name.encode()))
            except OSError:  # without an IPv4 address
                continue
            if socket.inet_ntoa(found[20:24]) == address:
                return name
    return None


def network_settings(address: str) -> dict[str, str]:
    """Return environment variables that keep gloo and NCCL on the network of an address.

    gloo would look this node's name up, which takes 10 s where no server knows it, and may listen on 127.0.1.1 or
    on the network. Where there are other nodes, what the user has set stays.
    """
    name = interface_of(address)
    if name is None:
        return {}
    of_user = {} if address == LOOPBACK else os.environ
    return {variable: of_user.get(variable, name) for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")}


def serve_store(address: str, patience: timedelta) -> "TCPStore":
    """Return a store that this process serves on a free port of an address.

    Left to open its port itself, a ``TCPStore`` listens on all addresses, whatever host it is given.
    """
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    with socket.create_server((address, 0)) as listening:
        return TCPStore(
            address,
            listening.getsockname()[1],
            is_master=True,
            wait_for_workers=False,
            timeout=patience,
            master_listen_fd=os.dup(listening.fileno()),
        )
