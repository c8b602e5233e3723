"""What the terminal shows of a study under way fits its width, and is text where nothing can be drawn."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from clr_hpc.cli.display.progress import progress_line, progress_text, run_names, running_table
from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.monitoring.forecast import Forecast
from clr_hpc.monitoring.status import RunStatus, State

HALF = Forecast(0.5, 3, 6, 240.0)


def drawn(width: int, is_terminal: bool, **settings: object) -> str:
    """Return what a console shows of a study half way."""
    console = Console(file=io.StringIO(), width=width, force_terminal=is_terminal, **settings)  # type: ignore[arg-type]
    specs = expand(load_study(Path("quickstart")), "0" * 64)
    running = [
        RunStatus(spec, State.RUNNING, None, "lane 2", "node", 1.25, 1e-4, 0.5, 50.0, 80.0, 0.9) for spec in specs
    ]
    console.print(progress_line(console, HALF, failed=0))
    console.print(running_table(running, run_names(specs), console.width))
    shown = console.file.getvalue()  # type: ignore[attr-defined]
    assert isinstance(shown, str)
    return shown


@pytest.mark.parametrize("width", [60, 80, 100, 140])
def test_each_run_is_one_line_of_the_terminal(width: int) -> None:
    lines = drawn(width, is_terminal=True, color_system=None).splitlines()
    assert len(lines) == 1 + 1 + 6
    assert max(map(len, lines)) <= width
    assert lines[0].startswith("━")
    assert lines[0].rstrip().endswith("50 %, 3 of 6 runs, about 4 min left")
    assert all("80 s" in line for line in lines[2:]), "the time that is left is in any width"
    assert ("images/s" in lines[1]) == (width >= 100)
    assert ("place" in lines[1]) == (width >= 140)


def test_what_is_no_terminal_gets_text() -> None:
    lines = drawn(200, is_terminal=False).splitlines()
    assert lines[0] == "50 %, 3 of 6 runs, about 4 min left"
    assert "\x1b" not in "".join(lines)


def test_without_colours_the_bar_still_ends_where_it_should(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    line = drawn(80, is_terminal=True).splitlines()[0]
    bar = line.split("50 %")[0].rstrip()
    assert "\x1b[3" not in line
    assert 18 <= bar.count("━") <= 24, "half of the bar's 42 columns"


def test_nothing_is_called_complete_that_is_not() -> None:
    assert progress_text(Forecast(0.999, 5, 6, 1.0), failed=1) == "99 %, 5 of 6 runs, 1 failed, about 1 s left"
    assert progress_text(Forecast(1.0, 6, 6, None), failed=0) == "100 %, 6 of 6 runs"
