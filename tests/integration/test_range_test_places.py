"""Range tests in lanes and on SLURM: the curves and the rates are those of ``--on here``."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from needs import need_package
from slurm_cluster import SlurmCluster
from slurm_trial import SlurmTrial
from trial_study import RANGE_TESTED, WAIT_SECONDS, TrialStudy, wait_until

from clr_hpc.store.run_folder import read_metrics

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
need_package("ray")
need_package("submitit")


def range_test(study: TrialStudy, *options: str) -> str:
    """Run the command, which must come to a suggestion, and return what it prints."""
    results = str(study.file.parent / "results")
    told = subprocess.run(
        [sys.executable, "-m", "clr_hpc", "range-test", str(study.file), "--results", results, *options],
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def suggestion(printed: str) -> str:
    (line,) = set(re.findall(r"sgd: \{lr_min: .*\}", printed))
    return str(line)


def curves(study: TrialStudy) -> dict[str, list[tuple[float, float]]]:
    """Return the rate and the loss of each step of each test."""
    folders = sorted(Path(study.file.parent, "results", "range-tests", "runs").iterdir())
    assert all(json.loads((folder / "result.json").read_text())["status"] == "done" for folder in folders)
    return {
        folder.name: [(entry["lr"], entry["loss"]) for entry in read_metrics(folder) if entry["kind"] == "step"]
        for folder in folders
    }


def test_they_are_the_same_wherever_they_run(
    write_study: Callable[..., TrialStudy], slurm: SlurmCluster, tmp_path: Path
) -> None:
    here = write_study(**RANGE_TESTED)
    in_lanes, queued = here.copied_to(tmp_path / "lanes"), here.copied_to(tmp_path / "slurm")
    expected = suggestion(range_test(here, "--no-plan"))
    assert len(curves(here)) == 2, "a test, and the steps of a rate that stays, which it is compared with"

    lanes = ("--on", "ray", "--lanes", "2", "--workers-per-lane", "1", "--cpus", "2")
    assert suggestion(range_test(in_lanes, "--no-plan", *lanes)) == expected
    assert curves(in_lanes) == curves(here)

    trial = SlurmTrial.write(queued, slurm)
    site = ("--on", "slurm", "--site", str(queued.file.parent / "site.yaml"))
    submitted = trial.clr_hpc("range-test", *site)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    wait_until(lambda: not slurm.output("squeue", "--noheader"), "the end of all jobs")
    again = trial.clr_hpc("range-test", *site)
    assert again.returncode == 0, again.stdout + again.stderr
    assert suggestion(again.stdout) == expected
    assert curves(queued) == curves(here)
