import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from made_once import made_once

from clr_hpc.reporting.report import report, write_report
from clr_hpc.store import layout

StudyMaker = Callable[..., Path]
MAIN = {
    "accuracy-mobilenetv1-sgd",
    "auroc-differences",
    "auroc-mobilenetv1-sgd",
    "auroc-mobilenetv1-sgd-one-class",
    "calibration-pneumothorax-mobilenetv1-sgd",
    "false-positives-mobilenetv1-sgd-one-class",
    "labels",
    "layers-mobilenetv1",
    "models",
    "precision-recall-pneumothorax-mobilenetv1-sgd",
    "roc-pneumothorax-mobilenetv1-sgd",
    "training-accuracy-differences",
    "training-pneumothorax-mobilenetv1-sgd-retraining",
    "validation-pneumothorax-mobilenetv1-sgd-retraining",
}


@pytest.fixture
def folder(make_study: StudyMaker) -> Path:
    return make_study(skill={}, retrained={"cosine": 1.0, "triangular": 1.4}, one_class=("deep_svdd",))


@pytest.fixture
def reported(make_study: StudyMaker, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the same with its report."""

    def make(target: Path) -> None:
        folder = make_study(skill={}, retrained={"cosine": 1.0, "triangular": 1.4}, one_class=("deep_svdd",))
        write_report(folder)
        folder.rename(target / folder.name)

    (made,) = made_once(tmp_path_factory, "figures", make).iterdir()
    return Path(shutil.copytree(made, tmp_path / "copied" / made.name))


def figures_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / layout.REPORT / layout.FIGURES).iterdir()}


def test_main_figures_are_those_over_all_findings_and_what_the_page_shows_first(reported: Path) -> None:
    assert set(figures_of(reported)) == {f"{name}.{ending}" for name in MAIN for ending in ("svg", "pdf")}


def test_all_figures_have_names_of_their_own_and_a_later_report_removes_them(folder: Path) -> None:
    report(folder, figures="all")
    every = figures_of(folder)
    for name in ("roc-effusion-mobilenetv1-sgd", "training-no-finding-deep-svdd-mobilenetv1-sgd-baseline"):
        assert f"{name}.svg" in every
    page = (folder / layout.REPORT / "report.html").read_text()
    shown = page.count("<svg") - page.count('aria-label="Line of ')
    assert len(every) == 2 * shown, "the page has few enough to show all as they are"
    own = folder / layout.REPORT / layout.FIGURES / "mine.svg"
    own.write_text("<svg/>")
    report(folder)
    assert set(figures_of(folder)) == {f"{name}.{ending}" for name in MAIN for ending in ("svg", "pdf")} | {
        own.name
    }
    assert figures_of(folder)["labels.svg"] == every["labels.svg"]


def test_without_figure_files_the_page_names_none(reported: Path) -> None:
    page = reported / layout.REPORT / "report.html"
    assert "<code>figures/</code>" in page.read_text()
    write_report(reported, "none")
    assert "<code>figures/</code>" not in page.read_text()
    assert not (page.parent / layout.FIGURES).exists()


def test_another_word_is_rejected_before_anything_is_written(folder: Path) -> None:
    with pytest.raises(ValueError, match="figures: 'some' is none of main, all, none"):
        report(folder, figures="some")  # type: ignore[arg-type]
    assert not (folder / layout.REPORT).exists()


def test_range_tests_have_files_of_the_task_that_is_shown_first(make_study: StudyMaker) -> None:
    folder = make_study(("edema",), skill={"constant": 1.0})
    curve = {"seed": 0, "rates": [0.01, 0.1], "loss": [1.0, 0.9], "standard_error": [0.1, 0.1]}
    rates = {"lr_min": 0.01, "lr": 0.05, "lr_max": 0.1}
    learners = [
        {"task": task, "architecture": "mobilenet_v1", "optimizer": "sgd", "scale": "linear", "reason": "r",
         "suggestion": rates, "spread": {name: [rate, rate] for name, rate in rates.items()},
         "curves": [curve | {"constant_answer": 0.95}]}
        for task in ("edema", "effusion")
    ]  # fmt: skip
    (folder / layout.RANGE_TEST_RESULTS).write_text(json.dumps({"format_version": 1, "learners": learners}))
    write_report(folder)
    files = figures_of(folder)
    assert {name for name in files if name.startswith("range-test")} == {
        f"range-test-edema-mobilenetv1-sgd.{ending}" for ending in ("svg", "pdf")
    }
    for name in ("seed 0", "untrained", "best constant prediction"):
        assert f">{name}</text>" in files["range-test-edema-mobilenetv1-sgd.svg"].decode()


def test_another_process_writes_the_same_bytes(reported: Path) -> None:
    """Whatever the order of its sets: fonts are cut for the letters that a file shows."""
    before = figures_of(reported)
    code = f"from clr_hpc import report; report({str(reported)!r})"
    subprocess.run(
        [sys.executable, "-c", code], check=True, env={"PYTHONHASHSEED": "7", "PYTHONPATH": ":".join(sys.path)}
    )
    assert figures_of(reported) == before
