"""``clr-hpc tune`` as a user starts it: to its end, killed half way, and again."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from trial_study import WAIT_SECONDS, TrialStudy, descendants_of, is_alive, wait_until
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.data.pack import Pack

TUNE: dict[str, Any] = {
    "search": "random",
    "trials": 3,
    "space": {"batch_size": [16, 32], "lr_max": {"low": 0.002, "high": 0.1, "scale": "log"}},
    "early_stopping": {"min_epochs": 1, "reduction": 2},
}
STAGES = {"scratch": {"policies": ["cosine"]}}
CYCLICAL = {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}], "epochs": 1}


def command(study: TrialStudy, *options: str) -> list[str]:
    start = [sys.executable, "-m", "clr_hpc", "tune", str(study.file), "--processes", "1"]
    return [*start, "--results", str(study.file.parent / "results"), *options]


def tune(study: TrialStudy, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(study, *options), capture_output=True, text=True, timeout=3 * WAIT_SECONDS, check=False
    )


def folder_of(study: TrialStudy) -> Path:
    (folder,) = [path.parent for path in study.file.parent.glob("results/trial/tuning/*/config.json")]
    return folder


def events(study: TrialStudy) -> list[dict[str, Any]]:
    """Return the journal without what a clock said."""
    try:
        lines = (folder_of(study) / "trials.jsonl").read_text().split("\n")[:-1]
    except (FileNotFoundError, ValueError):
        return []
    return [{name: value for name, value in json.loads(line).items() if name != "ask_seconds"} for line in lines]


@pytest.mark.commands
def test_killed_half_way_it_goes_on_without_repeating_or_losing_a_trial(
    write_study: Callable[..., TrialStudy], small_pack: Pack, tmp_path: Path
) -> None:
    study = write_study(tune=TUNE, stages=STAGES)
    undisturbed = study.copied_to(tmp_path / "undisturbed")
    whole = tune(undisturbed)
    assert whole.returncode == 0, whole.stderr

    process = subprocess.Popen(command(study), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(events(study)) >= 3, "a trial and more")
    workers = descendants_of(process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    wait_until(lambda: not any(map(is_alive, workers)), "the workers to die with their parent")
    before = events(study)
    assert len(before) < len(events(undisturbed)), "killed too late to show a thing"

    again = tune(study)
    assert again.returncode == 0, again.stderr
    assert "known from before" in again.stdout
    assert events(study) == events(undisturbed)
    asked = [event["values"] for event in events(study) if event["event"] == "asked"]
    assert len(asked) == 3
    assert all(asked.count(values) == 1 for values in asked)

    best = load_study(folder_of(study) / "best.yaml")
    chosen = json.loads((folder_of(study) / "outcome.json").read_text())["best"]
    assert best.name == "trial-tuned"
    assert best.training.batch_size == chosen["values"]["batch_size"]
    runs = study.file.parent / "results" / "trial" / "tuning" / "runs"
    for spec in expand(best, small_pack.manifest.checksum):
        assert (runs / spec.name / "result.json").exists(), "the best settings are those that were trained"
    page = (folder_of(study) / "tuning.html").read_text()
    assert page.count("<svg") >= 2

    third = tune(study)
    assert third.returncode == 0
    assert events(study) == events(undisturbed)


@pytest.mark.commands
def test_a_retraining_is_tuned_on_its_baseline(write_study: Callable[..., TrialStudy], small_pack: Pack) -> None:
    study = write_study(
        stages={"baseline": {"policies": ["cosine"], "epochs": 1}, "retrain": CYCLICAL},
        tune={"search": "grid", "stage": "retrain", "space": {"lr_max": [0.02, 0.04]}},
    )
    told = tune(study)
    assert told.returncode == 0, told.stderr
    runs = sorted(path.name for path in study.file.parent.glob("results/trial/tuning/runs/*"))
    assert [name.split(".")[3] for name in runs] == ["baseline", "retrain", "retrain"]
    assert yaml.safe_load((folder_of(study) / "best.yaml").read_text())["stages"]["retrain"]
    del small_pack


@pytest.mark.commands
def test_a_trial_that_diverges_fails_alone(write_study: Callable[..., TrialStudy]) -> None:
    study = write_study(
        stages={"scratch": {"policies": ["constant"], "epochs": 1}},
        tune={"search": "grid", "space": {"lr_max": [0.01, 1e38]}},
    )
    told = tune(study)
    assert told.returncode == 0, told.stderr
    assert [event["event"] for event in events(study)].count("failed") == 1
    assert "best: trial 0" in told.stdout


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({}, (), "no tune: section"),
        ({"tune": TUNE}, ("--on", "slurm"), "take an allocation"),
        ({"tune": TUNE}, ("--set", "tune.serch=grid"), "did you mean 'search'"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    changes: dict[str, Any], options: tuple[str, ...], message: str, write_study: Callable[..., TrialStudy]
) -> None:
    told = CliRunner().invoke(app, command(write_study(**changes), *options)[3:])
    assert told.exit_code == 2
    assert message in told.stderr.replace("\n", " ")
