"""A Ray cluster of several nodes on this machine, as tests use it."""

import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clr_hpc.places.ray.cluster import ON_THIS_MACHINE_ALONE, SETTINGS

ATTEMPTS = 3
"""On a busy machine a raylet may take longer to start than Ray waits."""


@dataclass
class RayNodes:
    """A cluster of nodes with a CPU each; a command that joins it is on the first one, the head."""

    address: str
    dashboard: str
    raylets: list[int]
    environment: dict[str, str]
    process: "subprocess.Popen[str]"

    def add_node(self) -> None:
        """Add a node, in place of one that was killed."""
        assert self.process.stdin is not None
        self.process.stdin.write("add\n")
        self.process.stdin.flush()
        described = _described(self.process)
        assert described is not None, "the cluster has ended"
        self.raylets.append(described["raylets"][-1])


@contextmanager
def ray_cluster(folder: Path, nodes: int) -> Iterator[RayNodes]:
    """Start a cluster with a token in ``folder``, and take it down at the end."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    patient = {"RAY_raylet_start_wait_time_s": "300"}  # on a busy machine
    environment = os.environ | SETTINGS | ON_THIS_MACHINE_ALONE | {"RAY_AUTH_TOKEN_PATH": str(token)} | patient
    described: dict[str, Any] | None = None
    for _ in range(ATTEMPTS):
        process = _start(environment, nodes)
        if (described := _described(process)) is not None:
            break
    assert described is not None, f"no Ray cluster in {ATTEMPTS} attempts"
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield RayNodes(**described, environment=environment, process=process)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def _start(environment: dict[str, str], nodes: int) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("integration") / "ray_nodes.py"), str(nodes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )


def _described(process: "subprocess.Popen[str]") -> dict[str, Any] | None:
    """Return what a cluster says of itself; None where it could not start."""
    assert process.stdout is not None
    line = next((line for line in process.stdout if line.startswith("{")), None)
    return None if line is None else dict(json.loads(line))
