"""Listening sockets of a process and all that it started, as the kernel lists them."""

import ipaddress
import re
import subprocess
from pathlib import Path
from typing import Any

from trial_study import descendants_of

_LISTEN = "0A"
"""State of a socket in ``/proc/net/tcp``, see proc(5)."""


def listening_of(process: subprocess.Popen[Any]) -> dict[str, str]:
    """Return where each listens, ``address:port``, and the command line of a process that has it."""
    addresses = listening_addresses()
    found = {}
    for number in [process.pid, *descendants_of(process)]:
        try:
            links = [str(link.readlink()) for link in Path(f"/proc/{number}/fd").iterdir()]
            words = Path(f"/proc/{number}/cmdline").read_bytes().replace(b"\0", b" ").decode().strip()
        except OSError:  # it has just ended
            continue
        for link in links:
            if (socket := re.fullmatch(r"socket:\[(\d+)\]", link)) and socket[1] in addresses:
                found[addresses[socket[1]]] = words
    return found


def listening_addresses() -> dict[str, str]:
    """Return the address of each socket that listens on this machine, by its inode."""
    found = {}
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            local, _, state, *_, inode = line.split()[1:10]
            if state == _LISTEN:
                address, port = local.split(":")
                # 32-bit words in the machine's byte order
                raw = b"".join(int(word, 16).to_bytes(4, "little") for word in re.findall("." * 8, address))
                found[inode] = f"{_plain(ipaddress.ip_address(raw))}:{int(port, 16)}"
    return found


def _plain(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """Return the address as text, the IPv4 address where it is one as IPv6 writes it."""
    return str(getattr(address, "ipv4_mapped", None) or address)
