"""A study as a job array on a real SLURM: to its end, over preemption and a lost node, and nothing done twice."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import need_package
from sharing import not_shared, share, umask_of_a_group
from slurm_cluster import SlurmCluster
from slurm_trial import ENDED, ONE_RUN, RETRAINING, SlurmTrial
from trial_study import TrialStudy, wait_until

from clr_hpc.data.pack import Pack

pytestmark = pytest.mark.cluster
need_package("submitit")

LONG = {"epochs": 20, "image_size": 32, "batch_size": 16}


@pytest.fixture
def trial(write_study: Callable[..., TrialStudy], slurm: SlurmCluster) -> Callable[..., SlurmTrial]:
    """Return what writes a study for the cluster, with changes."""
    return lambda site=None, **changes: SlurmTrial.write(write_study(**changes), slurm, **(site or {}))


def test_a_study_over_several_elements_ends_and_nothing_runs_twice(trial: Callable[..., SlurmTrial]) -> None:
    study = trial(stages=RETRAINING, pathologies=["cardiomegaly", "effusion"])
    assert "8 runs in 3 array tasks" in study.submit("--parallel", "3")
    again = study.submit("--parallel", "3")
    assert "8 queued or running" in again
    assert "nothing to submit" in again

    status, queue = study.status(), study.queued()
    assert len(status["slurm"]["elements"]) == 3
    assert {job["state"] for job in status["slurm"]["elements"]} <= {state.lower() for state in queue}
    waiting = [run for run in status["runs"] if run["state"] == "waiting"]
    assert all(f"job {study.job()}_" in run["reason"] for run in waiting)

    study.await_end()
    after = study.status()
    assert after["counts"]["done"] == 8, study.logs()
    assert {job["state"] for job in after["slurm"]["elements"]} == {"completed"}
    assert study.starts() == [1] * 8
    assert "8 done" in study.submit()
    assert study.clr_hpc("report").returncode == 0


def test_a_group_shares_all_but_what_jobs_are_run_from(trial: Callable[..., SlurmTrial], tmp_path: Path) -> None:
    share(tmp_path)
    with umask_of_a_group():
        study = trial(stages=ONE_RUN)
        study.submit()
        study.await_end()
        assert study.status()["counts"]["done"] == 1, study.logs()
    slurm = study.folder / "slurm"
    pickles = list(slurm.rglob("*.pkl"))
    assert len(pickles) == 2, "what was submitted, and how it ended"
    private, folders = [slurm / "lock", *pickles], [slurm, *(path for path in slurm.iterdir() if path.is_dir())]
    assert all(path.stat().st_mode & 0o077 == 0 for path in private)
    assert {path.stat().st_mode & 0o077 for path in folders} == {0o055}, (
        "who writes into them has jobs run his code"
    )
    assert not_shared(study.folder) == {path.name for path in (*private, *folders)}


def test_a_folder_that_no_node_sees_is_named(small_pack: Pack, slurm: SlurmCluster) -> None:
    with tempfile.TemporaryDirectory() as unseen:
        folder = TrialStudy.write(Path(unseen), pack=str(small_pack.folder), stages=ONE_RUN)
        study = SlurmTrial.write(folder, slurm)
        study.submit()
        study.await_end()
        (job,) = study.status()["slurm"]["elements"]
        logs = study.clr_hpc("logs", "scratch")
        told = f"{job['node']} may not see {study.folder / 'slurm' / 'logs'}"
        assert job["node"].startswith("node0")
        assert told in job["reason"]
        assert logs.returncode == 2
        assert told in " ".join(logs.stderr.split())


@pytest.mark.slow
def test_preempted_in_mid_epoch_it_ends_in_the_same_bytes(
    trial: Callable[..., SlurmTrial], slurm: SlurmCluster, tmp_path: Path
) -> None:
    study = trial(stages=ONE_RUN, pathologies=["cardiomegaly", "effusion"], training=LONG)
    undisturbed = study.study.copied_to(tmp_path / "undisturbed")
    assert "2 runs in 2 array tasks" in study.submit()
    wait_until(lambda: study.samples() > 0, "a checkpoint")
    high = slurm.sbatch("true", "--partition=high", "--nodes=2", "--exclusive")
    slurm.await_state(high, "COMPLETED")
    wait_until(lambda: "PENDING" in study.queued(), "the job to be queued again")
    assert [job["requeues"] for job in study.status()["slurm"]["elements"]] == [1, 1]
    assert undisturbed.run().returncode == 0
    study.await_end()
    assert study.starts() == [2, 2], study.logs()
    assert study.study.checksums() == undisturbed.checksums()


@pytest.mark.slow
def test_a_lost_node_costs_what_came_after_the_last_checkpoint(
    trial: Callable[..., SlurmTrial], slurm: SlurmCluster, tmp_path: Path
) -> None:
    study = trial(stages=ONE_RUN, training=LONG)
    undisturbed = study.study.copied_to(tmp_path / "undisturbed")
    study.submit()
    wait_until(lambda: study.samples() > 0, "a checkpoint")
    (job,) = study.status()["slurm"]["elements"]
    slurm.kill_node(job["node"], reported=True)
    wait_until(lambda: slurm.node_state(job["node"]).startswith("down"), "the loss of the node to be seen")
    slurm.start_node(job["node"])
    assert undisturbed.run().returncode == 0
    study.await_end()
    assert study.starts() == [2], study.logs()
    assert study.study.checksums() == undisturbed.checksums()


def test_cancelled_runs_are_saved_and_left_alone(trial: Callable[..., SlurmTrial]) -> None:
    study = trial(stages=ONE_RUN, pathologies=["cardiomegaly", "effusion"], training=LONG)
    study.submit("--parallel", "1")
    wait_until(lambda: study.samples() > 0, "a checkpoint")
    (running,) = [run for run in study.status()["runs"] if run["state"] == "running"]
    told = study.clr_hpc("cancel", running["name"])
    assert f"cancelled: {running['name']}" in told.stdout, told.stderr
    wait_until(lambda: len(study.study.folders()) == 2, "the other run to begin")
    status = {run["name"]: run for run in study.status()["runs"]}
    assert status[running["name"]]["state"] == "stopped"
    assert "cancelled" in status[running["name"]]["reason"]
    assert f"stopped: {running['name']}" in study.clr_hpc("logs", running["name"]).stdout

    assert f"cancelled: job {study.job()}" in study.clr_hpc("cancel").stdout
    study.await_end()
    after = study.status()
    assert {run["state"] for run in after["runs"]} == {"stopped"}
    assert {job["state"] for job in after["slurm"]["elements"]} <= set(ENDED)
    assert "2 runs in 2 array tasks" in study.submit()
    study.clr_hpc("cancel")
    study.await_end()
