"""What every command has in common: errors that a user can set right, and ``--verbose``."""

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import clr_hpc
from clr_hpc.cli import app as cli_app
from clr_hpc.cli.app import app
from clr_hpc.store.provenance import checked_out


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
    assert done.output == "error: nowhere.yaml: no such study file; clr-hpc studies lists examples\n"


def test_twice_verbose_shows_the_traceback() -> None:
    quiet, told = CliRunner().invoke(app, ["report", "nowhere.yaml"]), run("-vv", "report", "nowhere.yaml")
    assert "Traceback" not in quiet.stderr
    assert "Traceback" in told.stderr
    assert told.stderr.endswith(quiet.stderr)


def test_our_own_mistake_is_one_line_and_its_traceback_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path, _figures: str) -> None:
        raise KeyError("of [/ours]")

    monkeypatch.setattr("clr_hpc.reporting.report.write_report", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "study.yaml").touch()
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 70
    (kept,) = tmp_path.glob("clr-hpc-*.txt")
    assert done.output.count("\n") == 1
    assert "internal error, a mistake in clr-hpc: KeyError: 'of [/ours]'; report it" in done.output
    assert str(kept) in done.output
    assert "Traceback" in kept.read_text()
    assert "in broken" in kept.read_text()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    done = CliRunner().invoke(app, ["report", str(tmp_path)])
    assert done.exit_code == 70
    assert "in broken" in done.output, "where no file can be written"


@pytest.mark.commands
def test_errors_have_colours_only_where_they_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def told(**variables: str) -> str:
        shown = "import pty, sys; pty.spawn([sys.executable, '-m', 'clr_hpc', 'report', '[b]\\x1b[2J.yaml'])"
        wanted = {name: value for name, value in os.environ.items() if name != "NO_COLOR"} | {"TERM": "xterm"}
        command = [sys.executable, "-c", shown]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=wanted | variables).stdout

    monkeypatch.chdir(tmp_path)
    assert "\x1b[31m" in told()
    plain = told(NO_COLOR="1")
    assert "\x1b" not in plain
    assert "[b]␛[2J.yaml: no such study file" in plain


@pytest.mark.parametrize(
    ("number", "code", "told"), [(signal.SIGINT, 130, "by Ctrl-C"), (signal.SIGTERM, 143, "by SIGTERM")]
)
def test_a_command_that_is_stopped_has_a_last_word(
    number: signal.Signals, code: int, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli_app, "find_folder", lambda *_: os.kill(os.getpid(), number))
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(app, ["report", "study.yaml"])
    assert done.exit_code == code
    assert f"stopped {told}" in done.output
    assert "Resume" not in done.output, "report only reads"
    monkeypatch.setattr("clr_hpc.config.load.load_study", lambda *_: os.kill(os.getpid(), number))
    done = CliRunner().invoke(app, ["run", "study.yaml"])
    assert done.exit_code == code
    assert f"stopped {told}; what was saved by then is kept. Resume with the same command: " in done.output
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_version_names_what_behaviour_depends_on(repository: Path) -> None:
    lines = run("--version").stdout.splitlines()
    git = ["git", "-C", str(repository), "rev-parse", "--short=10", "HEAD"]
    commit = subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()
    assert lines[0].startswith(f"clr-hpc {clr_hpc.__version__}")
    assert f"commit {commit}" in lines[0] or not commit
    assert lines[2:] == [f"{name} {version(name)}" for name in ("torch", "ray", "submitit")]


def test_a_repository_around_an_installed_package_is_not_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    (tmp_path / "mine.txt").touch()
    for words in (["init", "-q"], ["add", "mine.txt"], [*identity, "commit", "-q", "-m", "Mine"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "__init__.py").touch()
    monkeypatch.setattr("clr_hpc.store.provenance.PACKAGE", installed)
    assert checked_out() == (None, None)
    subprocess.run(["git", "-C", str(tmp_path), "add", str(installed / "__init__.py")], check=True)
    commit, is_changed = checked_out()
    assert commit is not None
    assert is_changed


def test_quiet_leaves_errors_alone(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("image,Effusion\na.png,1\n")
    done = run("--quiet", "inspect", str(tmp_path / "labels.csv"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run("-q", "report", "nowhere.yaml")
    assert (done.returncode, done.stdout) == (2, "")
    assert "no such study file" in done.stderr


def commands(group: Any, *path: str) -> Iterator[tuple[str, ...]]:
    """Yield the words of a group and of all commands in it."""
    yield path
    for name in group.list_commands(None) if hasattr(group, "list_commands") else ():
        yield from commands(group.get_command(None, name), *path, name)


@pytest.mark.parametrize("words", list(commands(get_command(app))), ids=" ".join)
def test_help_is_readable_in_80_columns(words: tuple[str, ...]) -> None:
    """No option's name is cut, and lines of prose are broken by the terminal alone."""
    shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"}).output
    assert "…" not in shown
    prose = [line.strip() for line in shown.partition("╭")[0].splitlines()]
    broken = [line for line, after in pairwise(prose) if line and after and len(f"{line} {after.split()[0]}") < 78]
    assert broken == []


def test_every_command_has_short_help_and_is_completed() -> None:
    assert CliRunner().invoke(app, ["run", "-h"]).output == CliRunner().invoke(app, ["run", "--help"]).output
    asked = {"_CLR_HPC_COMPLETE": "complete_bash", "COMP_WORDS": "clr-hpc ra", "COMP_CWORD": "1"}
    command = [sys.executable, "-m", "clr_hpc"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | asked)
    assert done.stdout.split() == ["range-test"]
