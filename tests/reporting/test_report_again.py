"""A report after the first: quick, and to the byte what it would be without what was kept."""

import json
import logging
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import pandas as pd
import pytest
from joblib import Parallel
from made_once import made_once

from clr_hpc.reporting.page import packed
from clr_hpc.reporting.read import study
from clr_hpc.reporting.report import write_report
from clr_hpc.reporting.stats import scoring
from clr_hpc.store import layout
from clr_hpc.store.results import states_of_files

StudyMaker = Callable[..., Path]


@pytest.fixture(autouse=True)
def _pack_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pack figures as in a page of thousands."""
    monkeypatch.setattr(packed, "MOST_DRAWN", 0)


@pytest.fixture
def folder(make_study: StudyMaker, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a study of every stage and kind, with floors and checksums, and its report."""

    def make(target: Path) -> None:
        folder = make_study(
            ("effusion",),
            skill={"triangular": 1.2},
            retrained={"cosine": 1.0, "triangular": 1.4},
            one_class=("autoencoder",),
            seeds=(0, 1),
        )
        for run in (folder / layout.RUNS).iterdir():
            table = pd.read_parquet(run / layout.PREDICTIONS)
            if run.name.startswith("no_finding"):
                floor = table["score"].where(table["label"] == 0, 0.3).astype("float32")
                table = table.assign(floor_brightness=floor, floor_statistics=floor, findings="")
            write(run, table)
        write_report(folder, "none")
        folder.rename(target / folder.name)

    (made,) = made_once(tmp_path_factory, "reported", make).iterdir()
    return Path(shutil.copytree(made, tmp_path / "copied" / made.name))


def write(run: Path, predictions: pd.DataFrame) -> None:
    """Write a run's predictions, and their checksum into its result."""
    predictions.to_parquet(run / layout.PREDICTIONS)
    result = json.loads((run / layout.RESULT).read_text())
    (run / layout.RESULT).write_text(json.dumps(result | {"files": states_of_files(run)}))


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of what later reports parse, measure and draw."""
    done: list[str] = []

    def count(module: object, name: str) -> None:
        original = getattr(module, name)

        def counted(*given: object, **named: object) -> object:
            done.append(name)
            return original(*given, **named)

        monkeypatch.setattr(module, name, counted)

    count(study, "read_predictions")
    count(scoring, "run_scores")
    count(packed, "_drawn")
    return done


def files_of(folder: Path) -> dict[str, bytes]:
    report = folder / layout.REPORT
    return {path.relative_to(report).as_posix(): path.read_bytes() for path in report.rglob("*.*")}


def without_cache(folder: Path) -> dict[str, bytes]:
    shutil.rmtree(folder / layout.REPORT_CACHE)
    write_report(folder, "none")
    return files_of(folder)


def test_the_same_report_again_computes_nothing(folder: Path, computed: list[str]) -> None:
    first = files_of(folder)
    write_report(folder, "none")
    assert computed == ["_drawn"] * 3, "two overviews of models and the layers, which are drawn anew"
    assert files_of(folder) == first
    assert without_cache(folder) == first


def test_one_more_run_is_measured_alone(folder: Path, computed: list[str]) -> None:
    run = next((folder / layout.RUNS).glob("effusion.*.retrain.*seed1*"))
    aside = run.rename(folder / "aside")
    write_report(folder, "none")
    fewer = files_of(folder)
    aside.rename(run)
    computed.clear()
    write_report(folder, "none")
    assert (computed.count("read_predictions"), computed.count("run_scores")) == (1, 1)
    assert files_of(folder) != fewer
    assert files_of(folder) == without_cache(folder)


def test_a_run_that_scores_otherwise_is_measured_anew(folder: Path) -> None:
    before = files_of(folder)
    run = next((folder / layout.RUNS).glob("effusion.*.control.*"))
    table = pd.read_parquet(run / layout.PREDICTIONS)
    table["score"] = (table["score"] * 0.9).where(table.index % 3 == 0, table["score"]).astype("float32")
    write(run, table)
    write_report(folder, "none")
    after = files_of(folder)
    assert after["runs.csv"] != before["runs.csv"]
    assert after == without_cache(folder)


def test_more_patients_change_the_draws_of_every_run(folder: Path) -> None:
    """They are drawn for all runs of a study together."""
    run = next((folder / layout.RUNS).glob("effusion.*.baseline.*"))
    table = pd.read_parquet(run / layout.PREDICTIONS)
    table.loc[table["split"] == "test", "patient"] += "x"
    write(run, table)
    write_report(folder, "none")
    assert files_of(folder) == without_cache(folder)


@pytest.mark.parametrize("place", [0.01, 0.5, 0.99])
def test_a_flipped_bit_is_noticed_and_changes_no_number(
    folder: Path, place: float, caplog: pytest.LogCaptureFixture
) -> None:
    before = files_of(folder)
    files = sorted((folder / layout.REPORT_CACHE).iterdir())
    assert len(files) == 2 + 2, "one for each task, the predictions, the figures"
    for file in files:
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] ^= 4
        file.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        write_report(folder, "none")
    assert files_of(folder) == before
    assert all(str(file) in caplog.text for file in files)
    caplog.clear()
    write_report(folder, "none")
    assert caplog.text == "", "they are sound again"


def test_damaged_predictions_are_named_though_their_scores_are_kept(folder: Path) -> None:
    run = next((folder / layout.RUNS).glob("effusion.*.control.*"))
    content = bytearray((run / layout.PREDICTIONS).read_bytes())
    content[len(content) // 2] ^= 1
    (run / layout.PREDICTIONS).write_bytes(content)
    write_report(folder, "none")
    assert b"its SHA-256 is" in files_of(folder)["runs.csv"]


@pytest.mark.parametrize("cores", [1, 5])
def test_the_same_bytes_whatever_the_number_of_threads(
    folder: Path, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = files_of(folder)
    monkeypatch.setattr("clr_hpc.reporting.stats.bootstrap.usable_cores", lambda: cores)
    monkeypatch.setattr("clr_hpc.reporting.read.study.usable_cores", lambda: cores)
    assert without_cache(folder) == before


def test_the_same_bytes_whichever_process_draws_a_figure(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = files_of(folder)
    (folder / layout.REPORT_CACHE / layout.KNOWN_FIGURES).unlink()
    monkeypatch.setattr(packed, "usable_cores", lambda: 2)
    monkeypatch.setattr(packed, "WORTH_A_PROCESS", 1)
    sent: list[int] = []
    send = Parallel.__call__

    def counted(self: Parallel, tasks: Iterable[object]) -> object:
        every = list(tasks)
        sent.append(len(every))
        return send(self, every)

    monkeypatch.setattr(Parallel, "__call__", counted)
    write_report(folder, "none")
    assert files_of(folder) == before
    assert sent == [7], "all curves, and nothing else"
