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
        self.raylets.append(_described(self.process)["raylets"][-1])


@contextmanager
def ray_cluster(folder: Path, nodes: int) -> Iterator[RayNodes]:
    """Start a cluster with a token in ``folder``, and take it down at the end."""
    token = folder / "token"
    token.touch(0o600)
    token.write_text(secrets.token_hex(32))
    patient = {"RAY_raylet_start_wait_time_s": "300"}  # on a busy machine
    environment = os.environ | SETTINGS | ON_THIS_MACHINE_ALONE | {"RAY_AUTH_TOKEN_PATH": str(token)} | patient
    process = subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("integration") / "ray_nodes.py"), str(nodes)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield RayNodes(**_described(process), environment=environment, process=process)
    finally:
        process.stdin.close()
        process.wait(60)
        process.stdout.close()


def _described(process: "subprocess.Popen[str]") -> dict[str, Any]:
    assert process.stdout is not None
    described: dict[str, Any] = json.loads(next(line for line in process.stdout if line.startswith("{")))
    return described
