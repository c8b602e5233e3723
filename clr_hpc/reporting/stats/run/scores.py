"""All that the report needs of one run's scores on the test split: small enough to keep for thousands of runs."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from clr_hpc.reporting.read.predictions import Scores, SplitScores, TestImages
from clr_hpc.reporting.stats.bootstrap import Draws, Sampled
from clr_hpc.reporting.stats.difference import Influence
from clr_hpc.reporting.stats.metrics import MEASURES, Estimate, measure, youden_threshold
from clr_hpc.reporting.stats.run.curves import Points, curves_of
from clr_hpc.reporting.stats.run.parts import has_enough, parts_of_anomalies, sampled_auroc, slices

LAST = "last"
"""The model at the end of training: what is compared by default."""
OF_OTHER_MODELS = ("auroc", "average_precision", "accuracy")
"""Measures of averaged weights and snapshots, which stand next to the last model in one table."""


@dataclass(frozen=True, slots=True)
class FloorScores:
    """A one-class model and its floors on some of the test images."""

    images: int
    anomalous: int
    auroc: Sampled
    floors: Mapping[str, Sampled]


@dataclass(frozen=True, slots=True)
class RunScores:
    """What the scores of a run's models come to."""

    images: str
    """SHA-256 of the numbers of the test images: runs with the same can be compared."""
    models: Mapping[str, Mapping[str, Estimate]]
    """By model, then by measure."""
    thresholds: Mapping[str, float | None]
    """By model: at or above it an image is called positive; None where validation can't choose one."""
    influences: Mapping[str, Influence]
    """By model; empty where the test images are of one class."""
    right: NDArray[np.uint8] | None
    """Bits, whether the last model is right on each test image; None without a threshold."""
    slices: Mapping[tuple[str, str], Sampled]
    """AUROC of the last model on those parts of the test split that have enough images of both classes."""
    curves: Mapping[str, Points]
    """Of the last model of a classifier; empty unless they are drawn."""
    floors: Mapping[str, FloorScores]
    """By part of the test split; empty where the run has not recorded floors."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be measured of a run, and with which of its numbers."""

    one_class: bool
    given_thresholds: Mapping[str, float]
    """By model, of a one-class run; a classifier's are chosen on validation."""
    positive_weight: float
    drawn: bool
    """Whether its curves are drawn."""


@dataclass(frozen=True)
class TestPatients:
    """The test images of a study, and the draws of their patients that all its runs are measured on."""

    __test__ = False  # pytest takes names in Test for tests

    images: TestImages
    draws: Draws
    """``(P, B)``"""
    slice_draws: Draws
    """``(P, B)``, fewer, since every run is measured on every slice."""

    @cached_property
    def slices(self) -> dict[tuple[str, str], NDArray[np.bool_]]:
        """Masks ``(N,)`` of all test images."""
        return slices(self.images)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of all of it."""
        digest = hashlib.sha256()
        for array in (self.draws, self.slice_draws, *self.slices.values()):
            digest.update(f"{array.dtype.str} {array.shape};".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        digest.update(f"{self.images.names} {list(self.slices)}".encode())
        return digest.hexdigest()


def run_scores(predictions: Mapping[str, SplitScores], wanted: Wanted, patients: TestPatients) -> RunScores:
    """Measure a run that has scored test images."""
    test, validation = predictions["test"], predictions.get("validation")
    thresholds = {model: _threshold(model, validation, wanted) for model in test.by_model}
    last = test.of(LAST)
    both = 0 < last.labels.sum() < len(last.labels)
    threshold = thresholds[LAST]
    return RunScores(
        images=hashlib.sha256(test.images.tobytes()).hexdigest(),
        models={
            model: measure(
                test.of(model),
                threshold,
                patients.draws,
                not wanted.one_class,
                wanted.positive_weight,
                MEASURES if model == LAST else OF_OTHER_MODELS,
            )
            for model, threshold in thresholds.items()
        },
        thresholds=thresholds,
        influences={model: Influence.of(test.of(model)).rounded for model in test.by_model} if both else {},
        right=None if threshold is None else np.packbits((last.scores >= threshold) == last.labels),
        slices={} if wanted.one_class else _on_slices(last, patients),
        curves=curves_of(last, wanted.positive_weight) if wanted.drawn and both else {},
        floors=_on_floors(test, patients),
    )


def scores_of_model(predictions: Mapping[str, SplitScores], model: str, draws: Draws) -> RunScores:
    """Measure one model of a classifier, in what studies are compared by: the measures that every model has."""
    wanted = Wanted(one_class=False, given_thresholds={}, positive_weight=1.0, drawn=False)
    scores, threshold = predictions["test"].of(model), _threshold(model, predictions.get("validation"), wanted)
    found = measure(scores, threshold, draws, True, only=OF_OTHER_MODELS)
    both = 0 < scores.labels.sum() < len(scores.labels)
    influences = {model: Influence.of(scores)} if both else {}
    return RunScores("", {model: found}, {model: threshold}, influences, None, {}, {}, {})


def _threshold(model: str, validation: SplitScores | None, wanted: Wanted) -> float | None:
    if wanted.one_class:
        return wanted.given_thresholds[model]
    if validation is None:
        return None
    scores = validation.of(model)
    return youden_threshold(scores.labels, scores.scores)


def _on_slices(last: Scores, patients: TestPatients) -> dict[tuple[str, str], Sampled]:
    parts = {name: last.among(mask[last.images]) for name, mask in patients.slices.items()}
    return {name: sampled_auroc(part, patients.slice_draws) for name, part in parts.items() if has_enough(part)}


def _on_floors(test: SplitScores, patients: TestPatients) -> dict[str, FloorScores]:
    found = {}
    for name, mask in parts_of_anomalies(test, patients.images) if test.floors else ():
        part = test.of(LAST).among(mask)
        if has_enough(part):
            found[name] = FloorScores(
                int(mask.sum()),
                int((mask & test.labels).sum()),
                sampled_auroc(part, patients.draws),
                {floor: sampled_auroc(test.of_floor(floor).among(mask), patients.draws) for floor in test.floors},
            )
    return found
