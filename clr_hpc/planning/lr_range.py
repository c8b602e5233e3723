"""The LR range tests of a study: their folder, their results, and the study with the suggested rates.

``results/range-tests/runs`` holds the tests of all studies, each under its name, which ends in the id of its spec:
a test that is there is reused by every study. ``results/range-tests/studies/<study>`` is a study's folder
like others, whose ``runs`` is a link to them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from clr_hpc.config.base import UserError
from clr_hpc.config.expand import auto_optimizers, expand, is_reference, range_test_study
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.config.lr_range import MeasuredRates
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.schedule.lr_agreement import Agreement, agree
from clr_hpc.schedule.lr_range import Curve, Refusal, suggest
from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json
from clr_hpc.store.metrics import read_metrics
from clr_hpc.store.study_files import FORMAT_VERSION
from clr_hpc.store.study_folder import StudyFolder

DRAWN_POINTS = 200
"""Of each curve in the file: as many as a figure shows."""


class UnsuggestedRateError(UserError):
    """A rate is ``auto`` and its LR range tests are missing or inconclusive; the message names the remedy."""


def folder_of_tests(results: Path, study_name: str) -> StudyFolder:
    """Return the folder of a study's LR range tests; it is created if missing."""
    shared = results / layout.RANGE_TESTS
    (shared / layout.RUNS).mkdir(parents=True, exist_ok=True)
    folder = StudyFolder(shared / "studies" / study_name)
    folder.path.mkdir(parents=True, exist_ok=True)
    if not folder.runs.exists():
        folder.runs.symlink_to(Path("..", "..", "runs"), target_is_directory=True)
    return folder


def _tests_seen(results: Path, study_name: str) -> StudyFolder:
    """Return the same folder to read from, also where it isn't there and other studies' tests are."""
    shared = results / layout.RANGE_TESTS
    folder = StudyFolder(shared / "studies" / study_name)
    if not folder.runs.exists():
        folder.runs = shared / layout.RUNS
    return folder


@dataclass(frozen=True)
class TestedLearner:
    """The tests of one architecture, task and optimizer over all seeds, and their result."""

    tests: tuple[RunSpec, ...]
    curves: tuple[Curve, ...]
    verdict: Agreement | Refusal

    @property
    def name(self) -> str:
        """Displayed name: ``pneumonia, mobilenet_v1, adam``."""
        first = self.tests[0]
        return f"{first.task.name}, {first.architecture}, {first.optimizer.name}"

    @property
    def measured(self) -> MeasuredRates | None:
        """What stands in a study for ``auto``, to two digits; None where nothing is suggested."""
        if isinstance(self.verdict, Refusal):
            return None
        found, first = self.verdict.suggestion, self.tests[0]
        return MeasuredRates(
            architecture=first.architecture,
            optimizer=first.optimizer,
            task=first.task,
            lr_min=two_digits(found.lr_min),
            lr_max=two_digits(found.lr_max),
            lr=two_digits(found.lr),
            tests=tuple(spec.name for spec in self.tests),
        )

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-able values for the report and for programs."""
        first, verdict, measured = self.tests[0], self.verdict, self.measured
        values: dict[str, Any] = {
            "task": first.task.name,
            "architecture": first.architecture,
            "optimizer": first.optimizer.name,
            "scale": getattr(first.policy, "scale", None),
            "tests": [spec.name for spec in self.tests],
            "suggestion": None,
            "spread": None,
            "reason": verdict.reason if isinstance(verdict, Refusal) else verdict.suggestion.reason,
            "curves": [_drawn(spec, curve) for spec, curve in zip(self.tests, self.curves, strict=True)],
        }
        if measured is not None and isinstance(verdict, Agreement):
            rates = ("lr_min", "lr", "lr_max")
            values["suggestion"] = {name: getattr(measured, name) for name in rates}
            values["spread"] = {
                name: [getattr(verdict.lowest, name), getattr(verdict.highest, name)] for name in rates
            }
        return values


def two_digits(rate: float) -> float:
    """Round a rate: its other digits are noise, and would make other runs of the same study on other machines."""
    return float(f"{rate:.1e}")


def summarize_tests(tests: Sequence[RunSpec], folder: StudyFolder) -> Iterator[TestedLearner]:
    """Yield the result of each learner's tests, of those whose tests are all done."""
    tests = tuple(tests)
    missing = set(folder.unfinished(tests))
    references = {_learner(spec): spec for spec in tests if is_reference(spec)}
    by_optimizer: dict[Any, list[RunSpec]] = {}
    for spec in tests:
        if not is_reference(spec):
            by_optimizer.setdefault((spec.task, spec.architecture, spec.optimizer), []).append(spec)
    for group in by_optimizer.values():
        needed = {*group, *(references[_learner(spec)] for spec in group)}
        if needed & missing:
            continue
        curves = tuple(read_curve(folder, spec, references[_learner(spec)]) for spec in group)
        yield TestedLearner(tuple(group), curves, agree(curves))


def read_curve(folder: StudyFolder, test: RunSpec, reference: RunSpec) -> Curve:
    """Read the curve of a test whose batches a network that doesn't learn has seen, too.

    Rates are those of the policy: what ``rate_scaling`` makes of them is taken out.
    """
    untrained = {entry["samples"]: entry["loss"] for entry in read_metrics(folder.runs / reference.name)}
    entries = [entry for entry in read_metrics(folder.runs / test.name) if entry["samples"] in untrained]
    result: Mapping[str, object] = folder.result(test) or {}
    constant = result.get("constant_answer_loss")
    # results without it are from when rates were scaled by what the study says, whatever the batch in force
    batch_size = result.get("batch_size", test.training.batch_size)
    assert isinstance(batch_size, int)
    return Curve(
        rates=np.array([entry["lr"] for entry in entries]) / test.training.rate_scale(batch_size),
        losses=np.array([entry["loss"] for entry in entries]),
        untrained=np.array([untrained[entry["samples"]] for entry in entries]),
        diverged=bool(result.get("diverged")),
        constant_answer=constant if isinstance(constant, float) else None,
        steps_per_record=max(1, entries[0]["samples"] // batch_size) if entries else 1,
    )


def with_measured(study: Study, pack_checksum: str, results: Path) -> Study:
    """Return a study with numbers for all its rates that are ``auto``.

    A study that has started keeps the rates in its folder, if they are from the same tests.

    Raises:
        UnsuggestedRateError: tests are missing, or allow no suggestion.
    """
    wanted = auto_optimizers(study)
    if not wanted:
        return study
    folder = _tests_seen(results, study.name)
    tests = expand(range_test_study(study, wanted), pack_checksum)
    missing = folder.unfinished(tests)
    if missing:
        names = ", ".join(optimizer.name for optimizer in wanted)
        raise UnsuggestedRateError(
            f"rates of {names} are auto, and {len(missing)} LR range tests for them are not done; run them with "
            "'clr-hpc range-test', which takes options as 'clr-hpc run' does"
        )
    learners = list(summarize_tests(tests, folder))
    known = {one.tests: one for one in _measured_before(results / study.name)}
    measured = [known.get(tuple(spec.name for spec in one.tests)) or one.measured for one in learners]
    unsuggested = [
        f"{one.name}: {one.verdict.reason}"
        for one, rates in zip(learners, measured, strict=True)
        if rates is None and isinstance(one.verdict, Refusal)
    ]
    if unsuggested:
        raise UnsuggestedRateError(
            f"no rate to suggest for {'; for '.join(unsuggested)}; write lr_min and lr_max into the study"
        )
    return study.model_copy(update={"measured": tuple(one for one in measured if one is not None)})


def record_measured(study: Study, pack_checksum: str, results: Path) -> None:
    """Write ``range_tests.json`` into the study's folder: curves and suggestions, for its report."""
    if not study.measured:
        return
    tests = expand(range_test_study(study, auto_optimizers(study)), pack_checksum)
    learners = list(summarize_tests(tests, _tests_seen(results, study.name)))
    (results / study.name).mkdir(parents=True, exist_ok=True)
    write_verdicts(StudyFolder(results / study.name), learners)


def write_verdicts(folder: StudyFolder, learners: Sequence[TestedLearner]) -> None:
    """Write results of tests into the folder of their study."""
    path = folder.path / layout.RANGE_TEST_RESULTS
    write_json(path, {"format_version": FORMAT_VERSION, "learners": [one.as_dict() for one in learners]})


def _measured_before(study_folder: Path) -> tuple[MeasuredRates, ...]:
    try:
        return load_study(study_folder / layout.STUDY).measured
    except StudyError:
        return ()


def _learner(spec: RunSpec) -> tuple[object, ...]:
    return spec.task, spec.architecture, spec.seed


def _drawn(spec: RunSpec, curve: Curve) -> dict[str, Any]:
    level, error = curve.smoothed() if len(curve.rates) else (curve.rates, curve.rates)
    chosen = np.unique(np.linspace(0, len(level) - 1, min(DRAWN_POINTS, len(level))).astype(int))
    verdict, constant = suggest(curve), curve.constant_level
    return {
        "seed": spec.seed,
        "diverged": curve.diverged,
        "constant_answer": None if constant is None else round(constant, 4),
        "rates": [float(f"{rate:.4g}") for rate in curve.rates[chosen]],
        "loss": [round(float(value), 4) for value in level[chosen]],
        "standard_error": [round(float(value), 4) for value in error[chosen]],
        "refusal": verdict.reason if isinstance(verdict, Refusal) else None,
    }
