"""What a cluster is started with, and the files that its daemons read."""

import shutil
import socket
from dataclasses import dataclass
from pathlib import Path
from string import Template

from dev_cluster.commands import ClusterError, run

HERE = Path(__file__).parent
GPUS_PER_NODE = 2
NETWORKS = 250
LINK = "clr-slurm"
"""How the host's network devices of clusters begin; a number follows."""
ACCOUNTING = """AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=$network.1
AccountingStoragePass=$folder/munge/socket
AccountingStorageTRES=gres/gpu"""
LIMITS = "\nAccountingStorageEnforce=limits"


@dataclass(frozen=True)
class Settings:
    """What can be chosen.

    Raises:
        ClusterError: if there can't be such a cluster.
    """

    nodes: int
    max_array_size: int
    accounting: bool
    max_submit_jobs: int | None
    """How many jobs a user may have in the queue, an array counting as its elements; no limit if None."""
    shared: tuple[str, ...]
    """Folders under /tmp that nodes see."""

    def __post_init__(self) -> None:
        if not 1 <= self.nodes <= 64:
            raise ClusterError(f"{self.nodes} nodes: a cluster has 1 to 64")
        if self.max_array_size < 2:
            raise ClusterError(f"a MaxArraySize of {self.max_array_size} allows no array; it must be 2 or more")
        if self.max_submit_jobs is not None and not self.accounting:
            raise ClusterError("a limit on jobs is kept in the accounting database; leave out --no-accounting")
        for path in self.shared:
            if not Path(path).is_dir():
                raise ClusterError(f"no folder {path} to share")


@dataclass(frozen=True)
class Network:
    """The cluster's network; its number is that of ``link``, the host's own device in it."""

    link: str

    @property
    def prefix(self) -> str:
        """The first three bytes of all addresses, from those that RFC 2544 keeps for tests of networks."""
        return f"198.18.{self.link.removeprefix(LINK)}"

    @property
    def controller(self) -> str:
        """The controller's address."""
        return f"{self.prefix}.1"

    @property
    def host(self) -> str:
        """The host's address."""
        return f"{self.prefix}.254"

    def node(self, name: str) -> str:
        """Return a node's address."""
        return f"{self.prefix}.{10 + int(name.removeprefix('node'))}"

    @classmethod
    def claim(cls) -> "Network":
        """Make the host's device, and so take the network's number.

        Raises:
            ClusterError: if the host lets nobody make one, or all numbers are taken.
        """
        for number in range(NETWORKS):
            link = f"{LINK}{number}"
            try:
                # of two clusters that want a number at once, one is refused
                run("ip", "link", "add", link, "type", "veth", "peer", "name", f"{link}-peer")
            except ClusterError:
                if link not in devices():
                    raise
            else:
                return cls(link)
        raise ClusterError(f"{NETWORKS} networks of clusters are there already; 'dev-cluster down' ends one")


def devices() -> set[str]:
    """Return the names of the host's network devices."""
    return {name for _, name in socket.if_nameindex()}


def node_names(settings: Settings) -> list[str]:
    """Return the names of a cluster's nodes."""
    return [f"node{number:02d}" for number in range(1, settings.nodes + 1)]


def write_configuration(folder: Path, settings: Settings, network: Network) -> None:
    """Write ``folder``/etc for a cluster.

    Raises:
        ClusterError: if slurmd doesn't say its version.
    """
    version = tuple(int(part) for part in run("slurmd", "-V").split()[1].split(".")[:2])
    # slurmd must load some plugin of cgroups, used or not, and one that does nothing came with 23.11
    cgroup = "disabled" if version >= (23, 11) else "cgroup/v1"
    # the same switch under two names
    preempted = (
        "PreemptParameters=" if version >= (23, 2) else "SlurmctldParameters=preempt_"
    ) + "send_user_signal"
    values = {
        "folder": str(folder),
        "network": network.prefix,
        "last_node": f"{settings.nodes:02d}",
        "last_address": str(10 + settings.nodes),
        "gpus": str(GPUS_PER_NODE),
        "max_array_size": str(settings.max_array_size),
        "preempt_send_user_signal": preempted,
    }
    accounting = Template(ACCOUNTING).substitute(values) if settings.accounting else ""
    values["accounting"] = accounting + (LIMITS if settings.max_submit_jobs is not None else "")
    etc = folder / "etc"
    for name in ("slurm.conf", "slurmdbd.conf"):
        (etc / name).write_text(Template((HERE / name).read_text()).substitute(values))
    # slurmdbd refuses one that others can read
    (etc / "slurmdbd.conf").chmod(0o600)
    (etc / "cgroup.conf").write_text(f"CgroupPlugin={cgroup}\n")
    for number in range(GPUS_PER_NODE):
        # SLURM wants a character device, of whatever kind
        (etc / f"gpu{number}").symlink_to("/dev/null")
    (etc / "gres.conf").write_text(f"Name=gpu File={etc}/gpu[0-{GPUS_PER_NODE - 1}]\n")
    shutil.copy(HERE / "epilog", etc)
    addresses = {"localhost": "127.0.0.1", "controller": network.controller, socket.gethostname(): network.host}
    addresses |= {name: network.node(name) for name in node_names(settings)}
    (etc / "hosts").write_text("".join(f"{address} {name}\n" for name, address in addresses.items()))
    (etc / "resolv.conf").touch()
