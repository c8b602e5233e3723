"""Running other programs, and waiting for what they do."""

import os
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

LOG_LINES = 12
"""How much of a log an error carries."""


class ClusterError(Exception):
    """What was asked for isn't possible; the message says why."""


def environment(**more: str) -> dict[str, str]:
    """Return our environment with ``more``, with daemons in ``PATH`` and without another SLURM's settings."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SLURM")}
    ours["PATH"] = ours.get("PATH", "/usr/bin:/bin") + ":/usr/local/sbin:/usr/sbin:/sbin"
    return ours | {"LC_ALL": "C"} | more


def run(*command: str, typed: str = "", **more: str) -> str:
    """Run a command, with ``typed`` as its input and ``more`` in its environment, and return what it prints.

    Raises:
        ClusterError: if it fails; with what it said.
    """
    done = subprocess.run(
        command, input=typed, env=environment(**more), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = done.stderr.strip() or done.stdout.strip()
        raise ClusterError(f"{shlex.join(command)} failed: {said}")
    return done.stdout


def ask(*command: str, **more: str) -> str:
    """Return what a command prints, or nothing where it fails."""
    try:
        return run(*command, **more)
    except ClusterError:
        return ""


def wait_until(condition: Callable[[], bool], what: str, seconds: float, log: Path | None = None) -> None:
    """Wait for something to happen.

    Raises:
        ClusterError: if it did not within ``seconds``; with the last lines of ``log``.
    """
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log and log.exists() else []
            raise ClusterError("\n".join([f"waited {seconds:g} s in vain for {what}", *lines]))
        time.sleep(0.02)
