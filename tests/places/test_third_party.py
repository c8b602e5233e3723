"""A place that another package adds by an entry point: nothing in ``clr_hpc`` knows of it."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from trial_study import TrialStudy, wait_until
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.base import UserError
from clr_hpc.config.plugins import plugins
from clr_hpc.places.base import all_places, find_place

PACKAGE = Path(__file__).parent / "third_party"
COMMANDS = {
    "qsub": 'for script; do :; done\nsetsid sh "$script" > "$4" 2>&1 &\necho $!',
    "qstat": 'kill -0 "$1" 2>/dev/null && echo R',
    "qdel": 'kill -TERM "-$1"',
}

Run = Callable[..., Result]


@pytest.fixture
def clr_hpc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Return what runs a command where the package is installed and PBS is a few lines of shell."""
    (tmp_path / "bin").mkdir()
    for name, text in COMMANDS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    search = os.pathsep.join(filter(None, [str(PACKAGE), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", search)  # of the job
    monkeypatch.syspath_prepend(PACKAGE)

    def run(command: str, study: TrialStudy, *options: str) -> Result:
        results = str(study.file.parent / "results")
        return CliRunner().invoke(app, [command, str(study.file), *options, "--results", results])

    plugins.cache_clear()
    yield run
    plugins.cache_clear()


@pytest.mark.commands
def test_a_study_is_submitted_followed_and_trained(write_study: Callable[..., TrialStudy], clr_hpc: Run) -> None:
    study = write_study(stages={"scratch": {"policies": ["constant"]}})
    shown = clr_hpc("run", study, "--on", "pbs", "--dry-run")
    assert "--cohort 1" in shown.stdout, shown.stderr
    assert not study.folders()
    submitted = clr_hpc("run", study, "--on", "pbs", "--checkpoint-seconds", "7")
    assert submitted.exit_code == 0, submitted.stderr
    assert "watch: clr-hpc status" in submitted.stdout
    wait_until(lambda: '"finished"' in clr_hpc("status", study, "--json").stdout, "the job to end")
    assert [result["status"] for result in study.results()] == ["done"]
    (name,) = (folder.name for folder in study.folders())
    assert "1 run, 0 done before" in clr_hpc("logs", study, name).stdout
    assert "1 run, 1 done before" in clr_hpc("run", study, "--on", "pbs").stdout


def test_a_job_is_cancelled(write_study: Callable[..., TrialStudy], clr_hpc: Run) -> None:
    study = write_study(training={"epochs": 500, "image_size": 32, "batch_size": 16})
    assert clr_hpc("run", study, "--on", "pbs").exit_code == 0
    assert "running" in clr_hpc("status", study).stdout
    assert "cancelled: job" in clr_hpc("cancel", study).stdout
    wait_until(lambda: '"finished"' in clr_hpc("status", study, "--json").stdout, "the job to end")
    assert "cancelled as a whole" in clr_hpc("cancel", study, "constant").stderr


@pytest.mark.parametrize(
    ("leads_to", "message"),
    [
        ("nowhere_at_all:Moon", "can't be loaded: ModuleNotFoundError"),
        ("raises_at_import:Moon", "can't be loaded: ZeroDivisionError"),
        ("pathlib:Path", "it must be a subclass of Place"),
    ],
)
def test_a_package_that_is_broken_is_named_and_stops_no_other_command(
    leads_to: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken-1.0.dist-info"
    broken.mkdir()
    (broken / "entry_points.txt").write_text(f"[clr_hpc.places]\nmoon = {leads_to}\n")
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (tmp_path / "raises_at_import.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    plugins.cache_clear()
    try:
        with pytest.raises(UserError, match=rf"{leads_to}, entry point moon .*of broken, .*{message}"):
            find_place("moon")
        assert [place.name for place in all_places()] == ["here", "ray", "slurm"]
    finally:
        plugins.cache_clear()


def test_its_options_are_known_by_name(write_study: Callable[..., TrialStudy], clr_hpc: Run) -> None:
    study = write_study()
    assert "--lanes 2 is for --on ray and --on slurm; --on pbs does not take it" in (
        clr_hpc("run", study, "--on", "pbs", "--lanes", "2").stderr
    )
    assert "is for --on here and --on pbs" in clr_hpc("run", study, "--on", "ray", "--cohort", "2").stderr
    assert "a search needs its own process" in clr_hpc("tune", study, "--on", "pbs").stderr
    assert "did you mean 'pbs'" in clr_hpc("run", study, "--on", "pbss").stderr
