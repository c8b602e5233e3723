"""Commands leave what they print in the study's folder; a log that can't be written stops nothing."""

import logging
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from rich.live import Live
from trial_study import TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.cli.display import log_file
from clr_hpc.cli.display.log_file import close_log, open_log
from clr_hpc.cli.display.terminal import complain, terminal


@pytest.fixture(autouse=True)
def _ends() -> Iterator[None]:
    yield
    close_log("")


def lines(folder: Path) -> list[str]:
    (file,) = (folder / "logs").iterdir()
    return [line.partition("Z ")[2] for line in file.read_text().splitlines()]


def test_what_is_printed_and_logged_is_kept_and_what_is_drawn_over_is_not(tmp_path: Path) -> None:
    level = logging.getLogger("clr_hpc").level
    open_log(tmp_path, "run")
    open_log(tmp_path / "other", "run", makes_folder=True)
    console = terminal()
    console.print("done    one", soft_wrap=True)
    with Live("a bar", console=console, auto_refresh=False) as live:
        live.refresh()
    complain("error: two")
    logging.getLogger("clr_hpc.places").info("three")
    close_log("ended with exit code 0")
    console.print("after the end")
    found = lines(tmp_path)[2:]
    assert found == ["done    one", "error: two", "INFO clr_hpc.places: three", "ended with exit code 0"]
    assert logging.getLogger("clr_hpc").level == level
    assert not (tmp_path / "other").exists()


def test_logs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "MOST_FILES", 3)
    monkeypatch.setattr(log_file, "MOST_BYTES", 2000)
    (tmp_path / "logs").mkdir()
    for day in range(10, 16):
        (tmp_path / "logs" / f"202611{day}T000000Z-run-1.log").touch()
    (tmp_path / "logs" / "mine.log").touch()
    open_log(tmp_path, "run")
    for _ in range(100):
        terminal().print("x" * 80)
    close_log("")
    names = sorted(file.name for file in (tmp_path / "logs").iterdir())
    assert names[:2] == ["20261114T000000Z-run-1.log", "20261115T000000Z-run-1.log"]
    assert len(names) == 4
    assert "mine.log" in names, "others' files are left alone"
    text = (tmp_path / "logs" / names[2]).read_text()
    assert len(text) < 2200
    assert text.endswith("the log ends here: it is long enough\n")


def test_a_log_that_can_not_be_written_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "logs").write_text("a file")
    open_log(tmp_path, "run")
    terminal().print("goes on")
    assert "no log is written" in caplog.text


def test_a_command_that_finds_no_study_makes_no_folder(tmp_path: Path) -> None:
    open_log(tmp_path / "absent", "report")
    assert not list(tmp_path.iterdir())


def test_a_command_says_how_it_ended(write_study: Callable[..., TrialStudy]) -> None:
    study = write_study()
    results = study.file.parent / "results"
    folder = results / "trial"
    (folder / "runs").mkdir(parents=True)
    done = CliRunner().invoke(app, ["report", str(study.file), "--results", str(results)])
    assert done.exit_code == 2
    found = lines(folder)
    assert found[-1] == "ended with exit code 2"
    assert any("error: " in line for line in found)
