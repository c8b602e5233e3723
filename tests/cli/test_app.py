"""What every command has in common: errors that a user can set right, and ``--verbose``."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clr_hpc.cli.app import app


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "clr_hpc", *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "words",
    [
        *(["run"], ["range-test"], ["tune"], ["plan"], ["status"], ["cancel"], ["report"], ["tensorboard"]),
        ["logs", "any"],
    ],
)
def test_an_error_is_one_line_and_exits_with_two(words: list[str]) -> None:
    command, *rest = words
    done = CliRunner().invoke(app, [command, "nowhere.yaml", *rest])
    assert done.exit_code == 2
    assert done.output == "error: nowhere.yaml: no such study file; jobs/ has examples\n"


def test_twice_verbose_shows_the_traceback() -> None:
    quiet, told = run("report", "nowhere.yaml"), run("-vv", "report", "nowhere.yaml")
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in told.stderr
    assert told.stderr.endswith(quiet.stderr)


def test_what_is_no_mistake_of_a_user_keeps_its_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_path: Path) -> None:
        raise KeyError("a mistake of ours")

    monkeypatch.setattr("clr_hpc.reporting.report.write_report", broken)
    (tmp_path / "study.yaml").touch()
    assert isinstance(CliRunner().invoke(app, ["report", str(tmp_path)]).exception, KeyError)


def test_help_answers_at_once() -> None:
    def seconds() -> float:
        started = time.perf_counter()
        assert run("--help").returncode == 0
        return time.perf_counter() - started

    assert min(seconds() for _ in range(3)) < 1, "half a second on a quiet machine"
