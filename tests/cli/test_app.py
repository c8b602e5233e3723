"""What every command has in common: errors that a user can set right, and ``--verbose``."""

import gzip
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from trial_study import TrialStudy
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


def test_our_own_mistake_is_one_line_and_its_traceback_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: Path) -> None:
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


MISTAKES = [
    (("run", "{study}", "--results", "{file}"), "is a file, where a folder is meant"),
    (("run", "{study}", "--results", "{file}/x", "--dry-run"), "is a file, where a folder is meant"),
    (("range-test", "{study}", "--results", "{file}"), "is a file, where a folder is meant"),
    (("status", "{study}", "--results", "{file}"), "is a file, where a folder is meant"),
    (("run", "{folder}"), "it is a folder, not a file"),
    (("run", "{latin}"), "not UTF-8: byte 0xf6 in line 1"),
    (("run", "{long}"), "name too long"),
    (("run", "{pipe}"), "it is a pipe or a device"),
    (("run", "{study}", "--set", "pack={file}"), "can't be read"),
    (("run", "{study}", "--set", "pack={folder}"), "is not a pack"),
    (("run", "{study}", "--on", "ray", "--gpus", "99", "--dry-run"), "--gpus 99: this machine has"),
    (("run", "{study}", "--on", "ray", "--gpus", "99", "--no-plan"), "--gpus 99: this machine has"),
    (("plan", "{study}", "--throughput", "{folder}"), "it is not a file"),
    (("inspect", "{gzip}"), "gz"),
    (("inspect", "{cut}"), "ended before the end-of-stream marker"),
    (("inspect", "{nowhere}"), "can't be read"),
    (("pack", "phantom", "--images", "9", "--size", "32", "--output", "{file}/x"), "not a directory"),
    (("report", "{folder}"), "no study's folder"),
    (("logs", "{study}", "any", "--results", "{nowhere}"), "no study was started here"),
]


@pytest.mark.parametrize(("words", "told"), MISTAKES)
def test_a_users_mistake_is_one_line_with_the_remedy(
    words: tuple[str, ...], told: str, write_study: Callable[..., TrialStudy], tmp_path: Path
) -> None:
    places = {name: tmp_path / name for name in ("file", "folder", "latin", "pipe", "gzip", "cut", "nowhere")}
    places["file"].touch()
    places["folder"].mkdir()
    places["latin"].write_bytes("# Größe".encode("latin-1"))
    os.mkfifo(places["pipe"])
    places["gzip"] = tmp_path / "bad.csv.gz"
    places["gzip"].write_bytes(b"no gzip")
    places["cut"] = tmp_path / "cut.csv.gz"
    places["cut"].write_bytes(gzip.compress(b"file,patient\n" + bytes(str(list(range(999))), "ascii"))[:60])
    places |= {"long": tmp_path / ("x" * 300), "study": write_study().file}
    given = [word.format_map(places) for word in words]
    results = ["--results", str(tmp_path / "results")] if words[0] == "run" and "--results" not in words else []
    done = CliRunner().invoke(app, [*given, *results])
    assert done.exit_code == 2, done.output
    (error,) = [line for line in done.output.splitlines() if line.startswith("error: ")]
    assert told in error
    assert "Errno" not in error or "manifest.json" in error or words[0] == "inspect"
    assert not (tmp_path / "results").exists(), "before anything is written"
