"""A machine of the cluster: a set of namespaces.

Its network, host name, processes, /tmp and /dev/shm are its own; all other files are the host's.
"""

import os
import select
import shlex
import signal
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from dev_cluster.commands import ClusterError, environment, run, wait_until

BOOT = Path(__file__).with_name("boot")
NAMESPACES = ("--net", "--uts", "--ipc", "--mount", "--pid")
WAIT_SECONDS = 20


@dataclass(frozen=True)
class Machine:
    """One of the machines of the cluster in ``folder``, by name; on or off."""

    folder: Path
    name: str

    @property
    def own(self) -> Path:
        """Its part of the cluster's folder, which holds its disks."""
        return self.folder / "machines" / self.name

    @property
    def _mark(self) -> str:
        """What its first process has in its environment, so that no other is ever taken for it."""
        return f"CLR_HPC_DEV_CLUSTER={self.folder}:{self.name}"

    def _has_mark(self, process_id: int) -> bool:
        try:
            return self._mark.encode() in Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
        except OSError:
            return False

    def process_id(self) -> int | None:
        """Return its first process as the host counts, or None if the machine is off."""
        try:
            number = int((self.own / "process_id").read_text())
        except (OSError, ValueError):
            return None
        # for a moment, while it turns from boot into sleep, it has no environment at all
        tries = (self._has_mark(number) or time.sleep(0.01) for _ in range(5))
        return number if any(tries) else None

    def boot(self, shared: tuple[str, ...]) -> int:
        """Switch it on, without a network yet, and return its first process.

        Raises:
            ClusterError: if it is on, or does not start.
        """
        if self.process_id():
            raise ClusterError(f"{self.name} is on already")
        for part in ("tmp", "spool"):
            (self.own / part).mkdir(parents=True, exist_ok=True)
        (self.own / "tmp").chmod(0o1777)
        (self.own / "process_id").unlink(missing_ok=True)
        log = self.folder / "log" / f"{self.name}.boot.log"
        mark, value = self._mark.split("=", 1)
        with log.open("a") as output:
            started = subprocess.Popen(
                ["unshare", *NAMESPACES, "--fork", "--kill-child", BOOT, self.folder, self.name, *shared],
                env=environment(**{mark: value}),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_until(lambda: bool(self.process_id() or started.poll()), self.name, WAIT_SECONDS, log)
        process_id = self.process_id()
        if not process_id:
            raise ClusterError(f"{self.name} did not start: {log.read_text().strip()}")
        return process_id

    def entering(self, *command: str, namespaces: tuple[str, ...] = NAMESPACES) -> list[str]:
        """Return a command that runs ``command`` on the machine.

        Raises:
            ClusterError: if the machine is off.
        """
        process_id = self.process_id()
        if not process_id:
            raise ClusterError(f"{self.name} is off")
        return ["nsenter", "--target", str(process_id), *namespaces, "--", *command]

    def ip(self, *words: str) -> None:
        """Run ``ip`` in its network, with process ids and files as the host has them."""
        run(*self.entering("ip", *words, namespaces=("--net",)))

    def log(self, daemon: str) -> Path:
        """Return where a daemon's output goes."""
        return self.folder / "log" / f"{self.name}.{daemon}.log"

    def start(self, *command: str) -> None:
        """Start a daemon that lives as long as the machine."""
        log = shlex.quote(str(self.log(command[0])))
        line = f"setsid {shlex.join(command)} </dev/null >>{log} 2>&1 &"
        run(*self.entering("sh", "-c", line), SLURM_CONF=str(self.folder / "etc" / "slurm.conf"))

    def power_off(self) -> None:
        """Kill all of its processes at once, and return when they are gone; its disks stay.

        Raises:
            ClusterError: if they don't end.
        """
        # all that have the mark, lest one is missed that has not yet said that it is the first
        numbers = [int(process.name) for process in Path("/proc").glob("[0-9]*")]
        processes = []
        for number in filter(self._has_mark, numbers):
            with suppress(ProcessLookupError):
                processes.append(os.pidfd_open(number))
        for process in processes:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
        for process in processes:
            # the kernel ends the first process of a namespace after all others in it
            if not select.select([process], [], [], WAIT_SECONDS)[0]:
                raise ClusterError(f"{self.name} does not end within {WAIT_SECONDS} s of SIGKILL")
            os.close(process)
