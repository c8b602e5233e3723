"""What others wrote is shown as it is: brackets are no markup, and nothing commands the terminal."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table
from trial_study import TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.cli.display import run as run_display
from clr_hpc.cli.display import terminal as display
from clr_hpc.cli.display.run import RunDisplay
from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.monitoring.forecast import Forecast
from clr_hpc.store.atomic import write_json
from clr_hpc.store.study_folder import StudyFolder

NASTY = "[enforce fail at alloc.cpp:1] [/x] [red]a[/] :bug: \x1b[2J\x07"
SHOWN = "[enforce fail at alloc.cpp:1] [/x] [red]a[/] :bug: ␛[2J␇"


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """All that consoles print."""
    shown = io.StringIO()
    make = Console.__init__

    def into_it(self: Console, **settings: object) -> None:
        settings.pop("stderr", None)
        make(self, file=shown, width=300, force_terminal=True, color_system=None, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(Console, "__init__", into_it)
    return shown


def test_whatever_a_run_ends_with_is_shown(write_study: Callable[..., TrialStudy], printed: io.StringIO) -> None:
    study = write_study()
    (spec, *_) = expand(load_study(study.file), "a" * 64)
    runs = study.file.parent / "runs"
    (runs / spec.name).mkdir(parents=True)
    failure = {"status": "failed", "reason": NASTY, "traceback": "", "seconds": 1.0}
    write_json(runs / spec.name / "result.json", failure)
    with RunDisplay(display.terminal(), StudyFolder(study.file.parent), [spec]) as events:
        events.say(f"first {NASTY}")
        with events.busy(f"busy {NASTY}") as change:
            change(f"changed {NASTY}")
        events.under_way({spec})
        events.ended(spec, "failed")
    told = printed.getvalue()
    assert f"first {SHOWN}" in told
    assert f"constant  {SHOWN}" in told
    assert f"changed {SHOWN}" in told


def test_a_run_that_failed_before_has_not_ended(write_study: Callable[..., TrialStudy]) -> None:
    study = write_study()
    failed, ended = expand(load_study(study.file), "a" * 64)
    folder = StudyFolder(study.file.parent)
    for spec in (failed, ended):
        (folder.runs / spec.name).mkdir(parents=True)
        failure = {"status": "failed", "reason": "the disk was full", "traceback": "", "seconds": 1.0}
        write_json(folder.runs / spec.name / "result.json", failure)
    shown = io.StringIO()
    console = Console(file=shown, width=200)  # a pipe
    with RunDisplay(console, folder, [failed, ended]) as events:
        events.ended(ended, "failed")
        events.ended(failed, "failed")
    first, second = shown.getvalue().splitlines()
    assert "1 of 2 runs, 1 failed" in first
    assert "100 %, 2 of 2 runs, 2 failed" in second


def test_the_bar_never_goes_back(write_study: Callable[..., TrialStudy], monkeypatch: pytest.MonkeyPatch) -> None:
    study, found = (
        write_study(),
        iter([Forecast(0.6, 0, 2, 9.0), Forecast(0.5, 0, 2, 9.0), Forecast(0.7, 0, 2, 9.0)]),
    )
    monkeypatch.setattr(run_display, "forecast", lambda *_: next(found))
    specs = expand(load_study(study.file), "a" * 64)
    shown = io.StringIO()
    with RunDisplay(Console(file=shown, width=200), StudyFolder(study.file.parent), specs) as events:
        for _ in range(3):
            events.ended(specs[0], "failed")
    assert [line.rpartition("(")[2][:4] for line in shown.getvalue().splitlines()] == ["60 %", "60 %", "70 %"]


def test_tables_and_errors_have_no_markup(printed: io.StringIO) -> None:
    table = Table("[b]head")
    table.add_row("[/cell]")
    display.terminal().print(table)
    display.complain(NASTY)
    assert "[b]head" in printed.getvalue()
    assert "[/cell]" in printed.getvalue()
    assert SHOWN in printed.getvalue()


def test_a_folder_in_brackets_is_named_as_it_is(write_study: Callable[..., TrialStudy], tmp_path: Path) -> None:
    study = write_study()
    results = tmp_path / "[b]" / "[/x]"
    done = CliRunner().invoke(app, ["run", str(study.file), "--results", str(results), "--dry-run"])
    assert done.exit_code == 0, done.output
    assert f"in {results / 'trial'}" in done.output
    lost = CliRunner().invoke(app, ["status", str(study.file), "--results", str(results)])
    assert f"error: {results / 'trial'}: no study was started" in lost.output


def test_there_is_one_place_where_consoles_are_made(repository: Path) -> None:
    makes = re.compile(r"\bConsole\(|from_markup|rich\.markup|secho\(|\[(red|green|yellow|bold|dim)\]")
    found = {
        path.name for path in (repository / "clr_hpc" / "cli").rglob("*.py") if makes.search(path.read_text())
    }
    assert found == {"terminal.py"}
