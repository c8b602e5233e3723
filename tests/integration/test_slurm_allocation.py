"""An allocation on a real SLURM: a Ray cluster over two nodes, what queue and killers do to it, what it leaves."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from needs import need_package
from slurm_cluster import SlurmCluster
from slurm_trial import ONE_RUN, SlurmTrial
from trial_study import WAIT_SECONDS, TrialStudy, wait_until

from clr_hpc.data.pack import Pack

pytestmark = [pytest.mark.cluster, pytest.mark.slow, pytest.mark.usefixtures("no_epilog")]
need_package("submitit")
need_package("ray")

NODES = ("node01", "node02")
ALLOCATION = ("--shape", "allocation", "--nodes", "2")
OVER_BOTH = (*ALLOCATION, "--lanes", "1", "--workers-per-lane", "2")
LONG = {"epochs": 30, "image_size": 32, "batch_size": 16}
SITE = {"nodes": 2, "time_limit_minutes": 30, "signal_seconds": 30}
LEFT = """
pgrep -af '[c]lr-hpc-job|[r]aylet|[g]cs_server|^[r]ay::|[_]submit'
ss -Hltn | grep -v ':6818 '
ls -d /tmp/clr-hpc-* /tmp/pymp-* /tmp/ray /dev/shm/* 2>/dev/null
true
"""
"""What of a job is on a node: processes, ports and folders, one a line; slurmd's own port is 6818."""
STRANGER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
JOINS = """
import sys, ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("joined", len(ray.nodes()))
"""


def left_on(slurm: SlurmCluster, node: str) -> str:
    return slurm.on_node(node, "sh", "-c", LEFT)


def assert_nothing_left(slurm: SlurmCluster) -> None:
    """Look for what is left, a little later: nobody waits for a parent's helpers, which end when it has."""

    def left() -> dict[str, str]:
        return {node: told for node in NODES if (told := left_on(slurm, node))}

    with suppress(AssertionError):
        wait_until(lambda: not left(), "nothing to be left", 10)
    assert left() == {}


@pytest.fixture
def no_epilog(slurm: SlurmCluster) -> Iterator[None]:
    """Have the cluster itself end nothing that a job leaves."""
    epilog = slurm.folder / "etc" / "epilog"
    kept = epilog.read_text()
    epilog.write_text("#!/bin/bash\nexit 0\n")
    yield
    epilog.write_text(kept)


@pytest.fixture
def allocation(write_study: Callable[..., TrialStudy], slurm: SlurmCluster) -> Callable[..., SlurmTrial]:
    """Return what writes a study for the cluster, with changes."""
    return lambda **changes: SlurmTrial.write(write_study(**changes), slurm, **SITE)


def await_end(study: SlurmTrial) -> None:
    """Wait for the end of all jobs, some of which start Ray more than once."""
    wait_until(lambda: not study.queued(), f"the end of all jobs; {study.folder}", 600)


def is_saved(study: SlurmTrial) -> None:
    wait_until(lambda: study.samples() > 0, f"a checkpoint; {study.logs()}")


def processes_of_starts(study: SlurmTrial) -> set[int]:
    (folder,) = study.study.folders()
    return {start["processes"] for start in json.loads((folder / "environment.json").read_text())}


def test_a_lane_over_two_nodes_trains_closed_to_strangers_and_leaves_nothing(
    small_pack: Pack, slurm: SlurmCluster
) -> None:
    # where everybody may look, so that nothing but the files' own modes keeps a stranger out
    folder = TrialStudy.write(slurm.shared / "open", pack=str(small_pack.folder), stages=ONE_RUN, training=LONG)
    study = SlurmTrial.write(folder, slurm, **SITE)
    assert "1 run in an allocation of 2 nodes" in study.submit(*OVER_BOTH)
    assert "nothing to submit" in study.submit(*OVER_BOTH)
    is_saved(study)
    (job,) = study.status()["slurm"]["elements"]
    assert (job["shape"], job["node"], job["state"]) == ("allocation", "node[01-02]", "running")
    assert all("raylet" in left_on(slurm, node) for node in NODES)

    *_, place = sorted((study.folder / "slurm" / "allocations").glob("*"))  # one for each time that it was queued
    head = json.loads((place / "cluster.json").read_text())
    private = [*place.glob("*"), *study.folder.rglob("*.pkl"), *study.folder.glob("runs/*/lease.json")]
    assert {"token", "cluster.json", "lease.json"} <= {path.name for path in private}
    assert any(path.suffix == ".pkl" for path in private)
    for path in private:
        read = subprocess.run([*STRANGER, "cat", str(path)], capture_output=True, text=True, check=False)
        assert "Permission denied" in read.stderr, f"a stranger reads {path}"

    assert "Permission denied" in refusal(slurm, "sh", "-c", "ls /tmp/clr-hpc-job*")
    for mode in ("token", "disabled"):
        joined = refusal(
            slurm,
            *("env", "-u", "RAY_ADDRESS", f"RAY_AUTH_MODE={mode}", f"RAY_AUTH_TOKEN={'0' * 64}", "HOME=/tmp"),
            *("timeout", "60", sys.executable, "-c", JOINS, head["address"]),
        )
        assert "joined" not in joined, joined
    url = f"http://127.0.0.1:{head['dashboard_port']}/api/cluster_status"
    asked = f"import urllib.request; urllib.request.urlopen({url!r}, timeout=20)"
    assert "HTTP Error 40" in refusal(slurm, "python3", "-c", asked)

    await_end(study)
    status = study.status()
    assert status["counts"]["done"] == 1, study.logs()
    assert {job["state"] for job in status["slurm"]["elements"]} == {"completed"}
    assert processes_of_starts(study) == {2}
    assert "Ray is up on" in study.logs()
    assert not (place / "token").exists()
    assert_nothing_left(slurm)
    assert study.clr_hpc("report").returncode == 0


def refusal(slurm: SlurmCluster, *command: str) -> str:
    """Run a command on the head as a stranger, which must fail, and return what it prints."""
    words = [str(slurm.folder), "node01", *STRANGER, *command]
    done = subprocess.run(
        [str(Path(__file__).parents[2] / "slurm" / "dev-cluster"), "on", f"--folder={words[0]}", *words[1:]],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
        env=slurm.environment,
    )
    assert done.returncode != 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_two_jobs_of_one_user_on_the_same_nodes(small_pack: Pack, slurm: SlurmCluster, tmp_path: Path) -> None:
    studies = [
        SlurmTrial.write(
            TrialStudy.write(tmp_path / name, pack=str(small_pack.folder), stages=ONE_RUN), slurm, **SITE
        )
        for name in ("one", "other")
    ]
    for study in studies:
        study.submit(*OVER_BOTH)
    wait_until(lambda: all(study.study.folders() for study in studies), "both to train at once")
    for study in studies:
        await_end(study)
        assert study.status()["counts"]["done"] == 1, study.logs()
        assert "queued again" not in study.logs()
        assert "has died" not in study.logs()
    assert_nothing_left(slurm)


KILLED = {
    "the head's task": ("node01", "^[^ ]*python[^ ]* -u -m submitit", "failed"),
    "a node's task": ("node02", "^[^ ]*python[^ ]* -u -m submitit", "failed"),
    "the driver": ("node01", "[s]pawn_main", "completed"),
    "a node's raylet": ("node02", "[r]aylet/raylet", "completed"),
    "the head's raylet": ("node01", "[r]aylet/raylet", "completed"),
}


@pytest.mark.parametrize("what", KILLED)
def test_what_is_killed_goes_on_or_fails_and_leaves_nothing(
    what: str, allocation: Callable[..., SlurmTrial], slurm: SlurmCluster
) -> None:
    node, pattern, expected = KILLED[what]
    study = allocation(stages=ONE_RUN, training=LONG)
    study.submit(*OVER_BOTH)
    is_saved(study)
    slurm.on_node(node, "pkill", "-KILL", "-f", pattern)
    await_end(study)
    (job,) = study.status()["slurm"]["elements"]
    assert job["state"] == expected, study.logs()
    assert_nothing_left(slurm)
    if expected == "failed":
        # a minute later, when the lease of the killed counts as dead
        wait_until(lambda: "an allocation" in study.submit(*OVER_BOTH), "the run to be free")
        await_end(study)
    assert study.status()["counts"]["done"] == 1, study.logs()


def test_cancelled_it_saves_and_leaves_nothing(allocation: Callable[..., SlurmTrial], slurm: SlurmCluster) -> None:
    study = allocation(stages=ONE_RUN, training=LONG)
    study.submit(*OVER_BOTH)
    is_saved(study)
    assert f"cancelled: job {study.job()}" in study.clr_hpc("cancel").stdout
    await_end(study)
    assert {run["state"] for run in study.status()["runs"]} == {"stopped"}
    assert_nothing_left(slurm)


def test_preempted_it_is_queued_again_and_goes_on(
    allocation: Callable[..., SlurmTrial], slurm: SlurmCluster
) -> None:
    study = allocation(stages=ONE_RUN, training=LONG)
    study.submit(*OVER_BOTH, "--checkpoint-seconds", "1000")
    wait_until(lambda: bool(study.study.folders()), "training to begin")
    high = slurm.sbatch("true", "--partition=high", "--nodes=2", "--exclusive")
    slurm.await_state(high, "COMPLETED")
    assert study.samples() > 0, "saved on the signal, and not before"
    wait_until(lambda: "PENDING" in study.queued(), "the job to be queued again")
    assert_nothing_left(slurm)
    await_end(study)
    assert study.status()["counts"]["done"] == 1, study.logs()
    assert study.starts() == [2]


def test_a_lost_node_has_slurm_queue_the_job_again(
    allocation: Callable[..., SlurmTrial], slurm: SlurmCluster
) -> None:
    study = allocation(stages=ONE_RUN, training=LONG)
    study.submit(*OVER_BOTH)
    is_saved(study)
    slurm.kill_node("node02", reported=True)
    wait_until(lambda: slurm.node_state("node02").startswith("down"), "the loss of the node to be seen")
    slurm.start_node("node02")
    await_end(study)
    assert study.status()["counts"]["done"] == 1, study.logs()
    assert study.starts() == [2]
    assert_nothing_left(slurm)
