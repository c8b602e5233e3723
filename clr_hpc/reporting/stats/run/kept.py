"""Scores of runs from earlier reports, by all that decides them: files, patients that were drawn, and the code."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from clr_hpc.reporting.read.known import KnownPredictions
from clr_hpc.reporting.stats.bootstrap import RESAMPLES, Interval, Sampled
from clr_hpc.reporting.stats.difference import Influence
from clr_hpc.reporting.stats.metrics import Estimate
from clr_hpc.reporting.stats.run.parts import RESAMPLES_OF_SLICES
from clr_hpc.reporting.stats.run.scores import FloorScores, RunScores, TestPatients, Wanted
from clr_hpc.store import layout
from clr_hpc.store.cache.blocks import KeptBlocks
from clr_hpc.store.cache.values import from_bytes, to_bytes
from clr_hpc.store.provenance import source_sha256

LIBRARIES = ("numpy", "scipy", "scikit-learn", "pyarrow")


@cache
def code() -> str:
    """Return the SHA-256 of the code and libraries that compute scores; what others computed is of no use."""
    return hashlib.sha256(" ".join([source_sha256(), *map(version, LIBRARIES)]).encode()).hexdigest()


def known_predictions(study_folder: Path) -> KnownPredictions:
    """Return what earlier reports of a study know of its predictions."""
    return KnownPredictions(KeptBlocks(study_folder / layout.REPORT_CACHE / layout.KNOWN_PREDICTIONS), code())


def key_of(checksum: str, wanted: Wanted, patients: TestPatients) -> str:
    """Return what identifies the scores of a run.

    Args:
        checksum: SHA-256 of its predictions.
        wanted: what is measured.
        patients: on whom.
    """
    whole = json.dumps([code(), checksum, asdict(wanted), patients.checksum])
    return hashlib.sha256(whole.encode()).hexdigest()


def packed(scores: RunScores) -> bytes:
    """Return a run's scores as bytes."""
    return to_bytes(
        {
            "images": scores.images,
            "models": {
                model: {key: _estimate(estimate) for key, estimate in of_model.items()}
                for model, of_model in scores.models.items()
            },
            "thresholds": scores.thresholds,
            "influences": {model: [each.auroc, each.of_patients] for model, each in scores.influences.items()},
            "right": scores.right,
            "slices": [[*name, _sampled(sampled)] for name, sampled in scores.slices.items()],
            "curves": scores.curves,
            "floors": {
                part: [
                    each.images,
                    each.anomalous,
                    _sampled(each.auroc),
                    {floor: _sampled(sampled) for floor, sampled in each.floors.items()},
                ]
                for part, each in scores.floors.items()
            },
        }
    )


def unpacked(block: bytes) -> RunScores:
    """Return the scores that ``packed`` was given."""
    found = from_bytes(block)
    return RunScores(
        images=found["images"],
        models={
            model: {key: _as_estimate(*estimate) for key, estimate in of_model.items()}
            for model, of_model in found["models"].items()
        },
        thresholds=found["thresholds"],
        influences={model: Influence(*each) for model, each in found["influences"].items()},
        right=found["right"],
        slices={
            (attribute, name): _as_sampled(sampled, RESAMPLES_OF_SLICES)
            for attribute, name, sampled in found["slices"]
        },
        curves=found["curves"],
        floors={
            part: FloorScores(images, anomalous, _as_sampled(auroc), _all_sampled(floors))
            for part, (images, anomalous, auroc, floors) in found["floors"].items()
        },
    )


def _estimate(estimate: Estimate) -> list[Any]:
    bounds = estimate.interval
    return [_sampled(estimate.sampled), [bounds.low, bounds.high] if bounds else None, estimate.reason]


def _as_estimate(sampled: list[Any], bounds: list[float] | None, reason: str) -> Estimate:
    return Estimate(_as_sampled(sampled), Interval(*bounds) if bounds else None, reason)


def _sampled(sampled: Sampled) -> list[Any]:
    return [sampled.value, sampled.degrees, sampled.draws if np.isfinite(sampled.draws).any() else None]


def _as_sampled(found: list[Any], resamples: int = RESAMPLES) -> Sampled:
    value, degrees, draws = found
    return Sampled(value, _undefined(resamples) if draws is None else draws, degrees)


def _all_sampled(found: Mapping[str, list[Any]]) -> dict[str, Sampled]:
    return {name: _as_sampled(sampled) for name, sampled in found.items()}


@cache
def _undefined(resamples: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.full(resamples, np.nan, np.float32)
