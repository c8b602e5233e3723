"""``clr-hpc run`` and its siblings before anything is trained: dry runs, and options of other places."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from trial_study import RANGE_TESTED, TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli import train
from clr_hpc.cli.app import app

Write = Callable[..., TrialStudy]


def invoke(command: str, study: TrialStudy, *options: str) -> tuple[int, str]:
    """Return the exit status and what was printed, as one line."""
    results = str(study.file.parent / "results")
    done = CliRunner().invoke(app, [command, str(study.file), "--results", results, *options])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


WRONG = [
    ("run", "ray", ("--processes", "2"), "--on here"),
    ("run", "slurm", ("--processes", "2"), "--on here"),
    ("run", "ray", ("--cohort", "2"), "--on here"),
    ("run", "slurm", ("--profile",), "--on here"),
    ("run", "here", ("--address", "host:1"), "--on ray"),
    ("run", "slurm", ("--cpus", "2"), "--on ray"),
    ("run", "here", ("--gpus", "0"), "--on ray"),
    ("run", "here", ("--lanes", "2"), "--on ray and --on slurm"),
    ("run", "here", ("--workers-per-lane", "2"), "--on ray and --on slurm"),
    ("run", "here", ("--site", "site.yaml"), "--on slurm"),
    ("run", "ray", ("--shape", "array"), "--on slurm"),
    ("run", "here", ("--nodes", "2"), "--on slurm"),
    ("run", "ray", ("--parallel", "2"), "--on slurm"),
    ("run", "here", ("--accept-changes",), "--on slurm"),
    ("range-test", "here", ("--parallel", "2"), "--on slurm"),
    ("range-test", "ray", ("--processes", "2"), "--on here"),
    ("tune", "here", ("--lanes", "2"), "--on ray"),
    ("tune", "ray", ("--processes", "2"), "--on here"),
]


@pytest.mark.parametrize(("command", "place", "option", "takers"), WRONG)
def test_an_option_of_another_place_is_rejected_by_name(
    command: str, place: str, option: tuple[str, ...], takers: str, write_study: Write
) -> None:
    study = write_study()
    status, told = invoke(command, study, "--on", place, *option)
    assert status == 2
    assert f"{' '.join(option)} is for {takers}" in told
    assert f"--on {place} does not take it" in told
    assert not (study.file.parent / "results").exists()


def test_a_default_is_no_wrong_option_and_an_unknown_place_names_the_known_ones(write_study: Write) -> None:
    study = write_study()
    assert invoke("run", study, "--on", "ray", "--dry-run", "--no-plan")[0] == 0, "--cohort 1 was not given"
    assert "known are here, ray, slurm" in invoke("plan", study, "--on", "moon")[1]


def test_a_dry_run_here_lists_the_runs_and_writes_nothing(write_study: Write) -> None:
    study = write_study()
    status, told = invoke("run", study, "--dry-run", "--processes", "2")
    assert status == 0, told
    assert "2 runs, 0 done before" in told
    assert "clr-hpc plan measures it" in told, "a dry run measures nothing"
    assert "would train 2 at a time: cardiomegaly.mobilenet_v1.sgd.scratch.constant" in told
    assert not (study.file.parent / "results").exists()


def test_a_study_whose_pairs_may_differ_in_length_is_remarked_on(write_study: Write) -> None:
    stages = {"baseline": {"policies": ["cosine"]}, "retrain": {"policies": ["triangular"]}}
    training = {"epochs": 2, "image_size": 32, "batch_size": 16, "early_stop_epochs": 1}
    _, told = invoke("run", write_study(stages=stages, training=training), "--dry-run")
    assert "set stages.retrain.early_stop: false so that both train for as long" in told


def test_a_dry_run_in_lanes_lists_them_and_starts_no_cluster(write_study: Write) -> None:
    study = write_study()
    status, told = invoke("run", study, "--on", "ray", "--lanes", "2", "--cpus", "4", "--dry-run", "--no-plan")
    assert status == 0, told
    assert "would start a cluster and 2 lanes, the first of 1 worker, 2 CPUs each" in told
    assert "cardiomegaly.mobilenet_v1.sgd.scratch.triangular" in told
    assert "would join host:1" in invoke("run", study, "--on", "ray", "--address", "host:1", "--dry-run")[1]
    assert not (study.file.parent / "results").exists()


def test_a_dry_run_on_slurm_shows_what_sbatch_would_get(
    write_study: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("submitit")
    (tmp_path / "bin").mkdir()
    for name in ("squeue", "sbatch", "srun", "sacct", "scontrol"):
        text = "" if name == "squeue" else "exit 1\n"
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\necho {name} >> {tmp_path}/calls\n{text}")
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    site = {"partition": "batch", "cpus": 2, "time_limit_minutes": 30, "shared_folder": str(tmp_path)}
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site))
    study = write_study()
    options = ("--on", "slurm", "--site", str(tmp_path / "site.yaml"), "--parallel", "2", "--dry-run")
    status, told = invoke("run", study, *options)
    assert status == 0, told
    assert "array: neither --nodes nor the site file" in told
    assert "#SBATCH --array=0-1" in told
    assert "# array task 1, 2 at a time: #" in told
    assert "watch:" not in told
    assert not (study.file.parent / "results" / "trial").exists()
    assert "sbatch" not in (tmp_path / "calls").read_text()


def test_a_dry_run_lists_the_range_tests_that_come_first(write_study: Write) -> None:
    study = write_study(**RANGE_TESTED)
    status, told = invoke("run", study, "--dry-run")
    assert status == 0, told
    assert "rates of sgd are auto: 2 range tests first" in told
    assert "range_test.ramp" in told
    assert "then the study's own runs" in told
    assert invoke("range-test", study, "--dry-run")[0] == 0
    assert not list((study.file.parent / "results").glob("range-tests/runs/*"))


@pytest.mark.parametrize("place", ["here", "ray"])
def test_a_dry_run_of_a_search_shows_what_it_would_try_and_writes_nothing(place: str, write_study: Write) -> None:
    space = {
        "batch_size": {"low": 8, "high": "fits"},
        "lr_max": {"low": 0.01, "high": 0.1},
        "weight_decay": [0, 0.1],
    }
    tuning = {"trials": 5, "seeds": [0, 1], "space": space, "early_stopping": {"min_epochs": 1}}
    study = write_study(tune=tuning)
    status, told = invoke("tune", study, "--dry-run", "--on", place)
    assert status == 0, told
    assert "trial: random over batch_size, lr_max, weight_decay: 5 trials; in" in told
    assert "batch_size: 8, doubled up to what fits into memory, which is measured first" in told
    assert "lr_max: 0.01 to 0.1, linear weight_decay: 0, 0.1" in told
    assert f"train each for 2 epochs, with pauses after 1, with 2 seeds, --on {place}" in told
    assert "highest validation AUROC" in told
    assert not (study.file.parent / "results").exists()


def test_the_former_name_of_throughput_is_known(write_study: Write) -> None:
    told = [invoke("run", write_study(), option, "nowhere.json", "--dry-run")[1] for option in FORMER]
    assert told[0] == told[1]
    assert "nowhere.json does not exist" in told[0]


FORMER = ("--throughput", "--rates")


def test_the_options_of_run_stand_in_panels() -> None:
    shown = CliRunner().invoke(app, ["run", "--help"]).output
    found = [shown.index(f"─ {panel} ─") for panel in ("Study", "This machine", "Ray", "SLURM")]
    assert found == sorted(found)
    assert "--rates" not in shown
    assert train.run.__doc__ is not None
