"""Training without labels, and fits to it, killed and resumed here, on Ray and on SLURM: the same bytes."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from slurm_cluster import SlurmCluster
from slurm_trial import SlurmTrial
from trial_study import TrialStudy, wait_until

import clr_hpc

STUDY: dict[str, Any] = {
    "pathologies": [],
    "one_class": [{"methods": ["nearest_neighbours"], "features_of": "pretrain"}],
    "stages": {"pretrain": {"policies": ["cosine"], "epochs": 8}},  # so that none ends before it is killed
    "seeds": [0, 1],
    "training": {"epochs": 1, "image_size": 32, "batch_size": 16},
}


def undisturbed(study: TrialStudy, folder: Path) -> dict[str, str]:
    """Return the checksums of the same study trained here at one go: two pretrainings and two fits."""
    other = study.copied_to(folder)
    done = other.run()
    assert done.returncode == 0, done.stdout
    assert len(other.checksums()) == 4
    return other.checksums()


def killed_in_mid_run(study: TrialStudy, *options: str, on: str) -> None:
    """Start a study and kill the command, with all that it started, when two checkpoints are there."""
    words = study.command("--checkpoint-seconds", "0", *options, on=on)
    command = subprocess.Popen(words, stdout=subprocess.DEVNULL, process_group=0)
    saved = study.file.parent / "results" / "trial" / "runs"
    wait_until(lambda: len(list(saved.glob("*pretrain*/checkpoints/*.safetensors"))) > 1, "checkpoints")
    os.killpg(command.pid, signal.SIGKILL)
    command.wait()
    wait_until(lambda: not study.holders(), "the end of all processes")
    assert not list(saved.glob("*/result.json")), "killed too late to say anything"


@pytest.mark.commands
def test_killed_it_ends_in_the_same_bytes(write_study: Callable[..., TrialStudy], tmp_path: Path) -> None:
    study = write_study(**STUDY)
    killed_in_mid_run(study, on="here")
    assert study.run().returncode == 0
    assert study.checksums() == undisturbed(study, tmp_path / "undisturbed")
    results = study.file.parent / "results" / "trial"
    assert clr_hpc.load(results).findings == ("no_finding-nearest_neighbours",), "pretraining scores nothing"
    report = subprocess.run([sys.executable, "-m", "clr_hpc", "report", results], check=True, capture_output=True)
    assert b"report.html" in report.stdout
    assert "Nearest neighbours" in (results / "report" / "report.html").read_text()


@pytest.mark.cluster
def test_killed_on_ray_it_ends_in_the_same_bytes(write_study: Callable[..., TrialStudy], tmp_path: Path) -> None:
    pytest.importorskip("ray")
    study = write_study(**STUDY)
    lanes = ("--lanes", "2", "--workers-per-lane", "1", "--cpus", "2")
    killed_in_mid_run(study, *lanes, on="ray")
    outcome = study.run(*lanes, on="ray")
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert study.checksums() == undisturbed(study, tmp_path / "undisturbed")


@pytest.mark.cluster
def test_preempted_on_slurm_it_ends_in_the_same_bytes(
    write_study: Callable[..., TrialStudy], slurm: SlurmCluster, tmp_path: Path
) -> None:
    pytest.importorskip("submitit")
    long = {"stages": {"pretrain": {"policies": ["cosine"], "epochs": 20}}}  # so that it is preempted on the way
    study = SlurmTrial.write(write_study(**STUDY | long), slurm)
    assert "4 runs in 2 array tasks" in study.submit("--parallel", "2")
    wait_until(lambda: study.samples() > 0, "a checkpoint")
    high = slurm.sbatch("true", "--partition=high", "--nodes=2", "--exclusive")
    slurm.await_state(high, "COMPLETED")
    study.await_end()
    assert max(study.starts()) == 2, study.logs()
    assert study.study.checksums() == undisturbed(study.study, tmp_path / "undisturbed")
