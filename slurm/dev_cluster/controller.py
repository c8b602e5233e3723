"""The controller's daemons, each started when the one that it needs answers."""

import os
import socket
from pathlib import Path

from dev_cluster.commands import ClusterError, ask, run, wait_until
from dev_cluster.configuration import Network, Settings
from dev_cluster.machine import Machine

SLURMDBD_PORT = 6819
DATABASE = (
    "mariadbd",
    "--no-defaults",
    "--user=root",
    # only the controller itself reaches it, so it asks for no password
    "--bind-address=127.0.0.1",
    "--skip-grant-tables",
    # nothing is kept for longer than the cluster lives
    "--skip-log-bin",
    "--innodb-flush-log-at-trx-commit=0",
    "--innodb-log-file-size=8M",
    "--innodb-buffer-pool-size=64M",
    # slurmdbd asks for this much
    "--innodb-lock-wait-timeout=900",
)


def start_munge(controller: Machine) -> None:
    """Start munged, which says to all daemons who somebody is.

    Raises:
        ClusterError: if it does not start.
    """
    munge = controller.folder / "munge"
    (munge / "key").touch(0o600)
    (munge / "key").write_bytes(os.urandom(128))
    options = [f"--{name}-file={munge / name}" for name in ("key", "pid", "seed")]
    # --force: others may write to a folder above, as everybody may to /tmp
    controller.start("munged", "--foreground", "--force", f"--socket={munge}/socket", *options)
    wait_until((munge / "socket").is_socket, "munged", 20, controller.log("munged"))


def start_accounting(controller: Machine, settings: Settings, network: Network, slurm_conf: str) -> None:
    """Start the database and slurmdbd, and enter the cluster.

    Raises:
        ClusterError: if one does not start.
    """
    data = controller.own / "database"
    data.mkdir()
    mariadbd = (*DATABASE, f"--datadir={data}")
    run(
        *controller.entering(*mariadbd, "--bootstrap"),
        typed=f"create database mysql;\nuse mysql;\n{system_tables()}",
    )
    controller.start(*mariadbd, f"--socket={data}/socket", f"--pid-file={data}/pid")
    wait_until((data / "socket").is_socket, "mariadbd", 30, controller.log("mariadbd"))
    controller.start("slurmdbd", "-D")
    wait_until(lambda: listens(network.controller, SLURMDBD_PORT), "slurmdbd", 60, controller.log("slurmdbd"))
    entries = ["add cluster dev"]
    if settings.max_submit_jobs is not None:
        # a limit is kept for users that the database knows
        entries += ["add account trial", "add user root account=trial"]
        entries += [f"modify qos normal set MaxSubmitJobsPerUser={settings.max_submit_jobs}"]
    for entry in entries:
        run("sacctmgr", "--immediate", *entry.split(), SLURM_CONF=slurm_conf)


def start_slurmctld(controller: Machine, slurm_conf: str) -> None:
    """Start slurmctld.

    Raises:
        ClusterError: if it does not start.
    """
    controller.start("slurmctld", "-D")
    answers = "Slurmctld(primary) at controller is UP"
    log = controller.log("slurmctld")
    wait_until(lambda: answers in ask("scontrol", "ping", SLURM_CONF=slurm_conf), "slurmctld", 30, log)


def system_tables() -> str:
    """Return the SQL that makes MariaDB's own tables.

    Raises:
        ClusterError: if it isn't where MariaDB's packages put it.
    """
    # mysql/mysql_… or mariadb/mariadb_…, by version
    found = sorted(Path("/usr/share").glob("m*/m*_system_tables.sql"))
    if not found:
        raise ClusterError("no m*_system_tables.sql below /usr/share; it comes with mariadb-server-core")
    return found[0].read_text()


def listens(address: str, port: int) -> bool:
    """Return whether something takes connections there."""
    try:
        socket.create_connection((address, port), timeout=1).close()
    except OSError:
        return False
    return True
