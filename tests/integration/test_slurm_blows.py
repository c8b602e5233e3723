"""What the queue and its users do to a study, which takes minutes to see: ``pytest -m slow``."""

import json
import random
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import need_package
from slurm_cluster import SlurmCluster, slurm_cluster
from slurm_trial import ONE_RUN, RETRAINING, SlurmTrial
from trial_study import TrialStudy, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
need_package("submitit")

FAULTY_DISK = """
import numpy

_load = numpy.load

def load(path, *arguments, **options):
    if "shard-" in str(path):
        raise OSError(5, "Input/output error")
    return _load(path, *arguments, **options)

numpy.load = load
"""
KILLS = 20


def test_a_time_limit_shorter_than_the_run_is_survived_twice(
    write_study: Callable[..., TrialStudy], slurm: SlurmCluster, tmp_path: Path
) -> None:
    training = {"epochs": 80, "image_size": 32, "batch_size": 16}
    study = SlurmTrial.write(
        write_study(stages=ONE_RUN, training=training), slurm, time_limit_minutes=1, signal_seconds=20
    )
    undisturbed = study.study.copied_to(tmp_path / "undisturbed")
    study.submit("--checkpoint-seconds", "1000")
    wait_until(lambda: study.samples() > 0, "the signal, and the checkpoint that it asks for")
    assert undisturbed.run().returncode == 0
    wait_until(lambda: not study.queued(), "the end of all jobs", 900)
    (job,) = study.status()["slurm"]["elements"]
    assert job["requeues"] >= 2
    assert study.starts()[0] >= 3, study.logs()
    assert study.study.checksums() == undisturbed.checksums()


def test_without_accounting_and_with_short_arrays_a_study_ends(
    write_study: Callable[..., TrialStudy], tmp_path: Path
) -> None:
    with slurm_cluster("--no-accounting", "--max-array-size=5", shared=(tmp_path.parents[0],)) as cluster:
        study = SlurmTrial.write(
            write_study(stages=RETRAINING, pathologies=["cardiomegaly", "effusion"]), cluster, memory_gb=0.5
        )
        told = study.submit("--parallel", "8")
        assert told.count("in 5 array tasks") == 1
        assert told.count("in 3 array tasks") == 1
        study.await_end()
        status = study.status()
        assert status["counts"]["done"] == 8, study.logs()
        assert status["slurm"]["slurm_is_silent"] is None, "squeue answers"
        assert {job["state"] for job in status["slurm"]["elements"]} == {"completed"}


def test_a_limit_on_jobs_gives_each_element_more_runs(
    write_study: Callable[..., TrialStudy], tmp_path: Path
) -> None:
    with slurm_cluster("--max-submit-jobs=3", "--nodes=1", shared=(tmp_path.parents[0],)) as cluster:
        study = SlurmTrial.write(write_study(pathologies=["cardiomegaly", "effusion", "edema"]), cluster)
        other = cluster.sbatch("true", "--hold")
        assert "6 runs in 2 array tasks" in study.submit("--parallel", "6")
        cluster.output("scancel", other)
        study.await_end()
        assert study.status()["counts"]["done"] == 6, study.logs()


def test_a_node_with_a_broken_disk_is_left_and_named(
    write_study: Callable[..., TrialStudy], slurm: SlurmCluster, tmp_path: Path
) -> None:
    (tmp_path / "faulty").mkdir()
    (tmp_path / "faulty" / "sitecustomize.py").write_text(FAULTY_DISK)
    broken = f'[ "$SLURMD_NODENAME" != node01 ] || export PYTHONPATH={tmp_path}/faulty:$PYTHONPATH'
    study = SlurmTrial.write(write_study(), slurm, setup=[broken])
    study.submit("--parallel", "1")
    study.await_end()
    status = study.status()
    assert status["counts"]["done"] == 2, study.logs()
    assert "Input/output error" in status["slurm"]["excluded_nodes"]["node01"]
    (job,) = status["slurm"]["elements"]
    assert (job["node"], job["requeues"]) == ("node02", 1)


def test_killed_while_it_submits_a_study_is_neither_lost_nor_done_twice(
    write_study: Callable[..., TrialStudy], slurm: SlurmCluster
) -> None:
    study = SlurmTrial.write(write_study(stages=RETRAINING), slurm, extra={"hold": True})
    chance = random.Random(5)
    moments = []
    for kill in range(KILLS):
        before = len(states(study))
        process = subprocess.Popen(
            study.submit_words("--parallel", "2"),
            env=slurm.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        longest = 1.2
        if kill % 2:  # anywhere about sbatch, which may take but some milliseconds; every other one at once
            while len(states(study)) == before and process.poll() is None:
                time.sleep(0.001)
            longest = 0.3 if kill % 4 == 1 else 0.0
        try:
            process.wait(chance.uniform(min(0.3, longest / 4), longest))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        moments.append(states(study))
        study.submit("--parallel", "2")
        assert runs_in_queue(study) == sorted(folder_names(study)), moments
        slurm.output("scancel", "--user=root")
        study.await_end()
    assert any("intended" in moment for moment in moments), f"no kill came at an interesting moment: {moments}"

    study.submit("--parallel", "2")
    assert runs_in_queue(study) == sorted(folder_names(study))
    for submission in submissions(study):
        if submission["state"] == "submitted":
            slurm.run("scontrol", "release", str(submission["job"]))
    study.await_end()
    assert study.status()["counts"]["done"] == 4, study.logs()
    assert study.starts() == [1] * 4


def submissions(study: SlurmTrial) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in (study.folder / "slurm" / "submissions").glob("*.json")]


def states(study: SlurmTrial) -> list[object]:
    return [submission["state"] for submission in submissions(study)]


def folder_names(study: SlurmTrial) -> list[str]:
    return [run["name"] for run in study.status()["runs"]]


def runs_in_queue(study: SlurmTrial) -> list[str]:
    """Return the runs of all array tasks that wait, by the ledger; what is abandoned trains nothing."""
    told = study.cluster.output("squeue", "--noheader", "--array", "--format=%F %K")
    waiting = {tuple(line.split()) for line in told.splitlines()}
    return sorted(
        name
        for submission in submissions(study)
        for index, runs in enumerate(submission["elements"])
        if submission["state"] == "submitted" and (str(submission["job"]), str(index)) in waiting
        for name in runs
    )
