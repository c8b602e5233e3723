"""The project's own SLURM: what the tests on it rely on."""

import json
import socket
from pathlib import Path

import pytest
from slurm_cluster import SlurmCluster, slurm_cluster
from trial_study import wait_until

pytestmark = pytest.mark.cluster

SAVED_ON_SIGNAL = """
trap 'echo signal >>life; scontrol requeue $SLURM_JOB_ID' USR2
echo "start ${SLURM_RESTART_COUNT:-0}" >>life
[ -n "$SLURM_RESTART_COUNT" ] || { sleep 600 & wait; }
"""


def lines(file: Path) -> list[str]:
    return file.read_text().splitlines() if file.exists() else []


def devices() -> set[str]:
    return {name for _, name in socket.if_nameindex()}


def traces(folder: Path) -> list[str]:
    """Return the processes that have the folder in their command or environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            told = (process / "cmdline").read_bytes() + (process / "environ").read_bytes()
        except OSError:
            continue
        if str(folder).encode() in told:
            found.append(told.decode(errors="replace"))
    return found


def test_nodes_have_addresses_gpus_and_a_tmp_of_their_own(slurm: SlurmCluster, tmp_path: Path) -> None:
    script = f'echo "$(hostname) $(hostname -i) $CUDA_VISIBLE_DEVICES" | tee /tmp/own >{tmp_path}/$(hostname)'
    slurm.output("srun", "--nodes=2", "--gpus-per-node=2", "bash", "-c", script)
    first, second = ((tmp_path / node).read_text().split() for node in ("node01", "node02"))
    assert (first[0], first[2], second[0], second[2]) == ("node01", "0,1", "node02", "0,1")
    assert first[1] != second[1]
    assert slurm.on_node("node02", "cat", "/tmp/own").split() == second
    wait_until(
        lambda: "COMPLETED" in slurm.output("sacct", "--noheader", "--format=State"), "the job's accounting"
    )


def test_what_a_job_leaves_is_killed(slurm: SlurmCluster) -> None:
    daemon = "setsid env {} sleep 4711 </dev/null >/dev/null 2>&1 & "
    both_run = "until [ $(ps ax -o args= | grep -c '^sleep 4711') = 2 ]; do :; done"
    script = daemon.format("") + daemon.format("--ignore-environment") + both_run
    # a daemon that forgets its environment is seen to be nobody's when no job runs
    slurm.await_state(slurm.sbatch(script, "--nodelist=node01"), "COMPLETED")
    wait_until(lambda: "4711" not in slurm.on_node("node01", "ps", "ax"), "the end of what the job left")


def test_a_job_of_high_preempts_one_of_batch_which_starts_again(slurm: SlurmCluster) -> None:
    life = slurm.shared / "life"
    low = slurm.sbatch(SAVED_ON_SIGNAL, "--nodes=2", "--gpus-per-node=2", "--signal=B:USR2@60", "--requeue")
    wait_until(lambda: lines(life) == ["start 0"], "the job's start")
    high = slurm.sbatch("true", "--partition=high", "--gpus=1")
    slurm.await_state(high, "COMPLETED")
    slurm.await_state(low, "COMPLETED")
    assert lines(life) == ["start 0", "signal", "start 1"]


def test_a_job_outlives_its_node(slurm: SlurmCluster) -> None:
    job = slurm.sbatch('[ -n "$SLURM_RESTART_COUNT" ] || sleep 600', "--nodelist=node01", "--requeue")
    slurm.await_state(job, "RUNNING")
    slurm.kill_node("node01", reported=True)
    wait_until(lambda: slurm.node_state("node01").startswith("down"), "the loss of node01 to be seen")
    assert slurm.state(job) == "PENDING"
    slurm.start_node("node01")
    wait_until(lambda: slurm.node_state("node01") == "idle", "node01 to be back")
    slurm.await_state(job, "COMPLETED")


def test_without_accounting_sacct_refuses_and_nothing_outlives_the_cluster() -> None:
    with slurm_cluster("--no-accounting", "--max-array-size=5", "--nodes=1") as other:
        link = json.loads((other.folder / "cluster.json").read_text())["network"]["link"]
        assert link in devices()
        refused = other.run("sacct")
        assert refused.returncode != 0
        assert "accounting storage is disabled" in refused.stderr
        assert "Invalid job array" in other.run("sbatch", "--array=0-5", "--wrap", "true").stderr
        job = other.sbatch("sleep 600", "--array=0-4")
        wait_until(lambda: "RUNNING" in other.state(job), "the array's start")
        assert traces(other.folder)
    assert traces(other.folder) == []
    assert link not in devices()
    assert not other.folder.exists()


def test_a_site_may_limit_how_many_jobs_a_user_has() -> None:
    with slurm_cluster("--max-submit-jobs=3", "--nodes=1") as other:
        kept = other.output("sacctmgr", "--noheader", "--parsable2", "show", "qos", "format=MaxSubmitJobsPerUser")
        assert kept == "3"
        refused = other.run("sbatch", "--array=0-3", "--wrap", "true")
        assert "QOSMaxSubmitJobPerUserLimit" in refused.stderr
        other.await_state(other.sbatch("true"), "COMPLETED")
