"""A cluster: a controller and nodes on one network."""

import json
import os
import shutil
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from dev_cluster.commands import ClusterError, ask, environment, run, wait_until
from dev_cluster.configuration import Network, Settings, devices, node_names, write_configuration
from dev_cluster.controller import start_accounting, start_munge, start_slurmctld
from dev_cluster.machine import NAMESPACES, Machine

MAX_FOLDER_BYTES = 60
"""A Unix socket's path has 107 bytes at most, and sockets lie some folders deep."""
PROGRAMS = (
    *("munged", "slurmctld", "slurmd", "slurmdbd", "sbatch", "sacctmgr", "mariadbd"),
    *("ip", "unshare", "nsenter", "setsid", "hostname", "ps", "pgrep"),
)


def check() -> None:
    """Look whether there can be a cluster on this machine.

    Raises:
        ClusterError: if not; with what is missing.
    """
    if os.geteuid() != 0:
        raise ClusterError("it must be run by root, who alone makes machines out of namespaces")
    missing = [program for program in PROGRAMS if not shutil.which(program, path=environment()["PATH"])]
    if missing:
        raise ClusterError(f"no {', '.join(missing)} on this machine; slurm/dev-cluster.md names the packages")
    if not ask("unshare", *NAMESPACES, "--fork", "ip", "link"):
        raise ClusterError("this machine lets nobody make namespaces, as many containers do")


@dataclass(frozen=True)
class Cluster:
    """A cluster that was started in ``folder``."""

    folder: Path
    settings: Settings
    network: Network

    @property
    def slurm_conf(self) -> str:
        """What SLURM's commands must have in ``SLURM_CONF``."""
        return str(self.folder / "etc" / "slurm.conf")

    @property
    def controller(self) -> Machine:
        """The machine of slurmctld and of the database."""
        return Machine(self.folder, "controller")

    def node(self, name: str) -> Machine:
        """Return a node.

        Raises:
            ClusterError: if there is none of that name.
        """
        names = node_names(self.settings)
        if name not in names:
            raise ClusterError(f"no node {name}; there are {', '.join(names)}")
        return Machine(self.folder, name)

    @classmethod
    def at(cls, folder: Path) -> "Cluster":
        """Return the cluster in ``folder``.

        Raises:
            ClusterError: if none was started there.
        """
        try:
            written = json.loads((folder / "cluster.json").read_text())
        except FileNotFoundError as error:
            raise ClusterError(f"no cluster in {folder}; 'dev-cluster up' starts one") from error
        settings = written["settings"] | {"shared": tuple(written["settings"]["shared"])}
        return cls(folder, Settings(**settings), Network(**written["network"]))

    @classmethod
    def up(cls, folder: Path, settings: Settings) -> "Cluster":
        """Start a cluster in ``folder``, which must not be there or be empty, and wait until its nodes are idle.

        Raises:
            ClusterError: if it can't be; then nothing of it is left.
        """
        if len(os.fsencode(folder)) > MAX_FOLDER_BYTES:
            raise ClusterError(f"{folder} is too long for sockets in it; {MAX_FOLDER_BYTES} bytes at most")
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ClusterError(f"{folder} holds something already; 'dev-cluster down' ends a cluster")
        # for other users, who may submit jobs as well
        folder.chmod(0o755)
        cluster = cls(folder, settings, Network.claim())
        try:
            cluster._start()
        except BaseException:
            cluster.down()
            raise
        return cluster

    def down(self) -> None:
        """End every process of the cluster, its network and its files."""
        for name in node_names(self.settings):
            self.node(name).power_off()
        self.controller.power_off()
        # the kernel takes a device away with its other end's namespace, but in its own time
        ask("ip", "link", "delete", self.network.link)
        wait_until(lambda: self.network.link not in devices(), f"the end of {self.network.link}", 20)
        shutil.rmtree(self.folder)

    def _start(self) -> None:
        record = {"settings": asdict(self.settings), "network": asdict(self.network)}
        (self.folder / "cluster.json").write_text(json.dumps(record))
        for part in ("etc", "log", "munge", "state", "shared", "machines"):
            (self.folder / part).mkdir()
        (self.folder / "shared").chmod(0o1777)
        write_configuration(self.folder, self.settings, self.network)
        self._boot_controller()
        start_munge(self.controller)
        if self.settings.accounting:
            start_accounting(self.controller, self.settings, self.network, self.slurm_conf)
        start_slurmctld(self.controller, self.slurm_conf)
        for name in node_names(self.settings):
            self.start_node(name)
        wait_until(self._all_idle, "idle nodes", 60, self.controller.log("slurmctld"))

    def _boot_controller(self) -> None:
        controller, link = self.controller, self.network.link
        process_id = controller.boot(self.settings.shared)
        controller.ip("link", "set", "lo", "up")
        controller.ip("link", "add", "bridge", "type", "bridge")
        controller.ip("address", "add", f"{self.network.controller}/24", "dev", "bridge")
        controller.ip("link", "set", "bridge", "up")
        run("ip", "link", "set", f"{link}-peer", "netns", str(process_id), "name", "host")
        controller.ip("link", "set", "host", "master", "bridge", "up")
        run("ip", "address", "add", f"{self.network.host}/24", "dev", link)
        run("ip", "link", "set", link, "up")

    def start_node(self, name: str) -> None:
        """Switch a node on: its network and slurmd.

        Raises:
            ClusterError: if it is on, or there is none of that name.
        """
        node, controller = self.node(name), self.controller
        process_id = node.boot(self.settings.shared)
        # the controller's end of the cable may have outlived the node's last life
        with suppress(ClusterError):
            controller.ip("link", "delete", name)
        controller.ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", str(process_id))
        controller.ip("link", "set", name, "master", "bridge", "up")
        node.ip("link", "set", "lo", "up")
        node.ip("address", "add", f"{self.network.node(name)}/24", "dev", "eth0")
        node.ip("link", "set", "eth0", "up")
        # to nowhere, but programs learn their own address from it
        node.ip("route", "add", "default", "via", self.network.controller)
        node.start("slurmd", "-D")

    def kill_node(self, name: str, reported: bool) -> None:
        """End all processes of a node at once, and say so to SLURM if it is to be ``reported``.

        Raises:
            ClusterError: if there is none of that name.
        """
        self.node(name).power_off()
        if reported:
            down = ("update", f"NodeName={name}", "State=DOWN", "Reason=killed")
            run("scontrol", *down, SLURM_CONF=self.slurm_conf)

    def _all_idle(self) -> bool:
        states = ask("sinfo", "-h", "--Node", "--partition=batch", "--format=%T", SLURM_CONF=self.slurm_conf)
        return states.split() == ["idle"] * self.settings.nodes
