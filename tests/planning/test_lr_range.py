"""From range tests on disk to the numbers of a study, its report, and its view in TensorBoard."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from made_records import range_test_result, step_line
from trial_study import RANGE_TESTED, TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.expand import expand, is_reference, range_test_study
from clr_hpc.config.load import load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.monitoring.tensorboard import TensorBoardView
from clr_hpc.planning.lr_range import (
    UnsuggestedRateError,
    folder_of_tests,
    record_measured,
    summarize_tests,
    two_digits,
    with_measured,
    write_verdicts,
)
from clr_hpc.reporting.page.lr_range import write_page
from clr_hpc.reporting.read.study import ReportError, read_study
from clr_hpc.schedule.policies import learning_rate
from clr_hpc.store.study_folder import StudyFolder

CHECKSUM = "c0ffee" + "0" * 58
STEPS = 120
Middle = Callable[[RunSpec], float | None]
"""The rate at which a test's loss has fallen by half; None: it is flat."""


@dataclass
class Measured:
    """A study with ``auto`` rates, and results beside it in which its range tests are invented."""

    folder: Path

    def study(self, **changes: Any) -> Study:
        values: dict[str, Any] = {
            "name": "auto",
            "pack": str(self.folder / "pack"),
            "pathologies": ["effusion", "edema"],
            "optimizers": ["sgd", "adam"],
            "rates": {"sgd": "auto", "adam": {"lr_min": 1e-4, "lr_max": 1e-3}},
            "stages": {"scratch": {"policies": ["constant", "triangular"]}},
            "training": {"epochs": 4, "image_size": 32},
        }
        file = self.folder / "study.yaml"
        file.write_text(yaml.safe_dump(values | changes))
        return load_study(file)

    @property
    def results(self) -> Path:
        return self.folder / "results"

    def invent(self, study: Study, middle: Middle = lambda _: 1e-3) -> None:
        """Leave what the tests of a study would leave."""
        folder = folder_of_tests(self.results, study.name)
        for spec in expand(range_test_study(study), CHECKSUM):
            path = folder.runs / spec.name
            path.mkdir(exist_ok=True)
            (path / "metrics.jsonl").write_text(
                "".join(json.dumps(e) + "\n" for e in _entries(spec, middle(spec)))
            )
            (path / "result.json").write_text(json.dumps(range_test_result()))

    def resolve(self, study: Study) -> Study:
        return with_measured(study, CHECKSUM, self.results)

    def start(self, study: Study) -> StudyFolder:
        """Do what ``clr-hpc run`` does before it trains."""
        (self.folder / "pack").mkdir(exist_ok=True)
        (self.folder / "pack" / "manifest.json").write_text(json.dumps({"checksum": CHECKSUM}))
        folder = StudyFolder(self.results / study.name)
        folder.prepare(study, self.folder / "pack")
        record_measured(study, CHECKSUM, self.results)
        return folder


def _entries(spec: RunSpec, middle: float | None) -> list[dict[str, Any]]:
    batches = np.random.default_rng(spec.seed).gamma(4.0, 0.25, STEPS)
    entries = []
    for step, batch in enumerate(batches):
        rate = learning_rate(spec.policy, 6 * step / STEPS) * spec.training.rate_scale(spec.training.batch_size)
        falls = middle is not None and not is_reference(spec)
        level = 1 - 0.5 / (1 + np.exp(-4 * np.log10(rate / middle))) if falls and middle else 1.0
        entries.append(step_line(32 * (step + 1), lr=rate, loss=float(batch * level)))
    return entries


@pytest.fixture
def measured(tmp_path: Path) -> Measured:
    return Measured(tmp_path)


def test_numbers_stand_in_place_of_auto(measured: Measured) -> None:
    study = measured.study()
    measured.invent(study)
    runs = expand(measured.resolve(study), CHECKSUM)
    (found,) = measured.resolve(study).measured
    assert (found.lr_min * found.lr_max) ** 0.5 == pytest.approx(1e-3, rel=0.15)
    assert found.lr_min < found.lr < found.lr_max
    assert found.lr_max == two_digits(found.lr_max)
    for run in runs:
        if run.optimizer.name == "sgd":
            assert run.policy.lr_max == (found.lr if run.policy.name == "constant" else found.lr_max)
        else:
            assert run.policy.lr_max == 1e-3
    assert len(found.tests) == 3
    assert all(name.startswith("effusion.mobilenet_v1.sgd.range_test.ramp.seed") for name in found.tests)


def test_records_of_several_steps_are_known_by_their_samples(measured: Measured) -> None:
    study = measured.study(training={"epochs": 4, "image_size": 32, "batch_size": 8})
    measured.invent(study)
    tests = expand(range_test_study(study), CHECKSUM)
    for learner in summarize_tests(tests, folder_of_tests(measured.results, study.name)):
        assert {curve.steps_per_record for curve in learner.curves} == {4}


def test_a_study_without_auto_is_left_alone(measured: Measured) -> None:
    study = measured.study(rates={"sgd": {"lr_min": 0.1, "lr_max": 1}, "adam": {"lr_min": 0.1, "lr_max": 1}})
    assert measured.resolve(study) is study
    assert not measured.results.exists()


def test_missing_tests_are_named_with_the_command_that_makes_them(measured: Measured) -> None:
    with pytest.raises(
        UnsuggestedRateError, match=r"rates of sgd are auto, and 6 LR range tests.*'clr-hpc range-test'"
    ):
        measured.resolve(measured.study())


def test_a_refusal_is_an_error_with_the_reason(measured: Measured) -> None:
    study = measured.study()
    measured.invent(study, lambda _: None)
    with pytest.raises(UnsuggestedRateError, match=r"effusion, mobilenet_v1, sgd: the curve is flat"):
        measured.resolve(study)


def test_another_study_finds_the_tests_that_fit_it(measured: Measured) -> None:
    first = measured.study()
    measured.invent(first)
    second = measured.study(name="second", seeds=[7, 8], stages={"scratch": {"policies": ["one_cycle"]}})
    assert measured.resolve(second).measured == measured.resolve(first).measured
    other_size = measured.study(name="third", training={"epochs": 4, "image_size": 64})
    with pytest.raises(UnsuggestedRateError, match="not done"):
        measured.resolve(other_size)


def test_a_study_that_was_begun_keeps_its_rates(measured: Measured) -> None:
    study = measured.study()
    measured.invent(study)
    begun = measured.resolve(study)
    measured.start(begun)
    measured.invent(study, lambda _: 3e-3)  # the same tests, made anew elsewhere
    assert measured.resolve(study) == begun
    assert measured.resolve(measured.study(name="new")).measured != begun.measured


def test_rates_are_those_before_scaling_by_the_batch(measured: Measured) -> None:
    scaling = {"rule": "linear", "reference_batch_size": 8}
    study = measured.study(training={"epochs": 4, "image_size": 32, "batch_size": 32, "rate_scaling": scaling})
    measured.invent(study, lambda _: 4e-3)
    (found,) = measured.resolve(study).measured
    assert (found.lr_min * found.lr_max) ** 0.5 == pytest.approx(1e-3, rel=0.15)


def test_what_reads_the_studys_folder_needs_nothing_else(measured: Measured) -> None:
    study = measured.study()
    measured.invent(study)
    started = measured.resolve(study)
    folder = measured.start(started)
    assert folder.started().runs == expand(started, CHECKSUM)
    left = json.loads((folder.path / "range_tests.json").read_text())
    (learner,) = left["learners"]
    assert learner["suggestion"]["lr"] == started.measured[0].lr
    assert [curve["seed"] for curve in learner["curves"]] == [0, 1, 2]


def test_tensorboard_shows_a_studys_tests_beside_its_runs(measured: Measured) -> None:
    study = measured.study()
    measured.invent(study)
    folder = measured.start(measured.resolve(study))
    view = TensorBoardView(folder)
    view.refresh()
    links = [path for path in view.path.rglob("*") if path.is_symlink()]
    assert {str(path.relative_to(view.path)) for path in links} == {
        f"effusion/mobilenet_v1/sgd/ramp.range_test.seed{seed}" for seed in range(3)
    }
    assert all((path / "metrics.jsonl").exists() for path in links)


def test_the_page_shows_one_figure_per_test_and_missing_suggestions(measured: Measured) -> None:
    study = measured.study(
        rates={"sgd": "auto", "adam": "auto"},
        architectures=["mobilenet_v1", "alexnet"],
        training={"epochs": 4, "image_size": 64},
    )
    measured.invent(study, lambda spec: 1e-3 if spec.optimizer.name == "sgd" else None)
    folder = folder_of_tests(measured.results, study.name)
    learners = list(summarize_tests(expand(range_test_study(study), CHECKSUM), folder))
    write_verdicts(folder, learners)
    page = write_page(folder.path)
    text = page.read_text()
    assert text.count('aria-label="Loss over learning rate') == 4
    assert text.count("no suggestion: the curve is flat") >= 2
    assert "http" not in text.replace("http-equiv", "").replace("http://www.w3.org", "")
    assert write_page(folder.path).read_text() == text


def test_a_tests_folder_has_no_report_of_policies(measured: Measured) -> None:
    study = measured.study()
    measured.invent(study)
    folder = folder_of_tests(measured.results, study.name)
    (measured.folder / "pack").mkdir()
    (measured.folder / "pack" / "manifest.json").write_text(json.dumps({"checksum": CHECKSUM}))
    folder.prepare(range_test_study(study), measured.folder / "pack")
    with pytest.raises(ReportError, match=r"range_tests\.html"):
        read_study(folder.path)


@pytest.mark.commands
def test_run_makes_the_tests_that_are_missing_and_a_second_study_makes_none(
    write_study: Callable[..., TrialStudy],
) -> None:
    study = write_study(**RANGE_TESTED)
    first = study.run()
    assert first.returncode == 0, first.stderr + first.stdout
    assert "rates of sgd are auto: 2 range tests first" in first.stdout
    (run,) = study.folders()
    policy = json.loads((run / "spec.json").read_text())["policy"]
    results = study.file.parent / "results"
    ran = yaml.safe_load((results / "trial" / "study.yaml").read_text())
    assert policy["lr_min"] == ran["measured"][0]["lr_min"]
    assert policy["lr_max"] == ran["measured"][0]["lr_max"]
    assert policy["half_cycle_epochs"] == 0.5
    before = {path: path.stat().st_mtime_ns for path in (results / "range-tests" / "runs").glob("*/result.json")}
    assert len(before) == 2
    second = TrialStudy.write(study.file.parent, **{**yaml.safe_load(study.file.read_text()), "name": "second"})
    told = second.run()
    assert told.returncode == 0, told.stderr + told.stdout
    assert "rates of sgd are auto: measured before" in told.stdout
    assert {path: path.stat().st_mtime_ns for path in before} == before
    shown = CliRunner().invoke(app, ["range-test", str(second.file), "--results", str(results), "--no-plan"])
    assert shown.exit_code == 0, shown.output
    assert f"sgd: {{lr_min: {policy['lr_min']:g}, lr_max: {policy['lr_max']:g}}}" in shown.output
