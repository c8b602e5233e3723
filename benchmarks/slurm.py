"""The cost of submitting and of status, and of an allocation up to its first step, against Ray's own start.

    python benchmarks/slurm.py

Some four minutes on 2 cores, as root, on a SLURM that it starts (slurm/dev-cluster.md says what that needs). The
allocation has two nodes and a lane of two workers. Bare Ray is ``ray start`` twice on this machine, and then a
TorchTrainer of two workers that does nothing.
"""

import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.table import Table

from parts.command import parser, write_study
from parts.slurm_cluster import SlurmCluster, cluster, seconds_until
from parts.studies import phantom_pack

COMMANDS = 5
WANTED_SECONDS = 2.0
TRAINING = {"epochs": 2, "image_size": 32, "batch_size": 16}


def measure_allocation(slurm: SlurmCluster) -> tuple[list[float], list[float], dict[str, float]]:
    """Return the seconds of submitting, those of the status, and those of an allocation's parts."""
    shared = slurm.shared
    phantom_pack(shared / "pack", 200, 64)
    write_study(shared / "bench.yaml", shared / "pack", TRAINING, 0.01, pathologies=["cardiomegaly"])
    site = slurm.write_site()
    study, bench = str(shared / "bench.yaml"), shared / "results" / "bench"
    options = ("--on", "slurm", "--site", str(site), "--shape", "allocation", "--nodes", "2")
    submits = []
    for _ in range(COMMANDS - 1):
        submits.append(slurm.clr_hpc("run", study, *options))
        slurm.clr_hpc("cancel", study)
        shutil.rmtree(bench)
    time.sleep(10)  # until what was cancelled is off the nodes
    submits.append(slurm.clr_hpc("run", study, *options, "--lanes", "1", "--workers-per-lane", "2"))
    started = time.monotonic()

    def log_says(what: str) -> Callable[[], bool]:
        return lambda: any(what in log.read_text() for log in bench.glob("slurm/logs/*_0_log.out"))

    def has_stepped() -> bool:
        return any(path.stat().st_size for path in bench.glob("runs/*/metrics.jsonl"))

    moments = {
        "SLURM starts the tasks, Python is up": seconds_until(log_says("the head is"), started),
        "the head is up": seconds_until(log_says("dashboard:"), started),
        "both nodes are up": seconds_until(log_says("nodes are up"), started),
        "the first step is recorded": seconds_until(has_stepped, started),
        "everything has ended": seconds_until(log_says("nothing is left"), started),
    }
    statuses = [slurm.clr_hpc("status", study) for _ in range(COMMANDS)]
    return submits, statuses, moments


def measure_bare_ray() -> dict[str, float]:
    """Return the seconds of the same parts with Ray alone."""
    start = [sys.executable, "-m", "ray.scripts.scripts", "start"]
    command = [*start, "--block", "--num-cpus=1", "--disable-usage-stats"]
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="ray-") as temp, ExitStack() as stack:
        started = time.monotonic()
        token = Path(temp) / "token"
        token.touch(0o600)
        token.write_text(secrets.token_hex(32))
        environment = os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        head = [*command, "--head", f"--port={port}", f"--temp-dir={temp}", "--node-ip-address=127.0.0.1"]
        other = [*command, f"--address=127.0.0.1:{port}", "--node-ip-address=127.0.0.1"]
        ups = []
        for name, words in (("head", head), ("other", other)):
            log = Path(temp) / f"{name}.log"
            with log.open("w") as output:
                node = subprocess.Popen(words, stdout=output, stderr=output, env=environment)
            stack.callback(node.wait)
            stack.callback(node.kill)
            ups.append(seconds_until(lambda log=log: "runtime started" in log.read_text(), started))  # type: ignore[misc]
        words = [sys.executable, "-c", TRAINER, f"127.0.0.1:{port}", temp]
        trainer = subprocess.run(words, env=environment, check=True, capture_output=True)
        return {"head": ups[0], "both": ups[1], "trainer": float(trainer.stdout.split()[-1])}


TRAINER = """
import sys, time
started = time.monotonic()
import ray, ray.train.torch
from ray.train import RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer
ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
where = RunConfig(storage_path=sys.argv[2])
TorchTrainer(lambda: None, scaling_config=ScalingConfig(num_workers=2), run_config=where).fit()
print(time.monotonic() - started)
"""


def main() -> None:
    """Measure and print."""
    parser(__doc__).parse_args()
    with cluster() as slurm:
        submits, statuses, moments = measure_allocation(slurm)
    bare = measure_bare_ray()
    ends = [0.0, *moments.values()]
    parts = {name: after - before for name, (before, after) in zip(moments, pairwise(ends), strict=True)}
    table = Table("command", "seconds, median", "longest", "of what is wanted", title="On the login node")
    for name, seconds in (("clr-hpc run --on slurm", submits), ("clr-hpc status", statuses)):
        share = f"{median(seconds) / WANTED_SECONDS:.2f}"
        table.add_row(name, f"{median(seconds):.2f}", f"{max(seconds):.2f}", share)
    by_part = Table("part", "seconds", "in bare Ray's", title="An allocation of two nodes to its first step")
    of_ray = (bare["head"], bare["both"] - bare["head"], bare["trainer"])
    peers = dict(zip(list(parts)[1:4], of_ray, strict=True))
    for name, seconds in parts.items():
        by_part.add_row(name, f"{seconds:.1f}", f"{seconds / peers[name]:.2f}" if name in peers else "")
    to_step = moments["the first step is recorded"]
    total = bare["both"] + bare["trainer"]
    by_part.add_row("submission to first step", f"{to_step:.1f}", f"{to_step / total:.2f}")
    console = Console()
    console.print(table)
    console.print(by_part)


if __name__ == "__main__":
    main()
