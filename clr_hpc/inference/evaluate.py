"""External validation: a study's models on a pack of other patients. Nothing is chosen or fitted there."""

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError, shown
from clr_hpc.config.pathologies import NO_FINDING, UNKNOWN
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.data.splits import SplitName
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.images import AT_ONCE
from clr_hpc.inference.overlap import Overlap, find_overlap, own_index
from clr_hpc.inference.study import TrainedStudy
from clr_hpc.store import layout
from clr_hpc.store.evaluations import Evaluated, EvaluatedSetting, read_evaluation, write_evaluation
from clr_hpc.store.records import Damaged
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.data import task_labels

FACTS = ["image", "patient", "view", "age_years", "sex"]


@dataclass(frozen=True)
class Candidate:
    """A setting, and what of the other pack it can be judged by."""

    ensemble: Ensemble
    is_best: bool
    rows: NDArray[np.int64]
    """``(N,)`` positions in the other pack's index."""
    labels: NDArray[np.int8]
    """``(N,)`` 0 or 1."""
    unlabelled: int
    """Images whose label isn't known."""
    gap: str = ""
    """Why there is no row; else empty."""


@dataclass(frozen=True)
class ExternalValidation:
    """What is going to be scored; ``prepare`` makes one, ``run`` scores it."""

    study: TrainedStudy
    other: Pack
    split: SplitName | None
    own_checksum: str
    folder: Path
    """Where the evaluation is written."""
    overlap: Overlap
    """Over the whole index of the other pack."""
    considered: NDArray[np.int64]
    """Rows of the other pack's split, those that are left out among them."""
    candidates: tuple[Candidate, ...]

    @property
    def images(self) -> int:
        """Number of scores that ``run`` takes, over all settings."""
        return sum(len(each.rows) for each in self.candidates)

    def run(self, device: str = "cpu", advance: Callable[[int], object] = lambda _: None) -> Path:
        """Score the images, write ``evaluation.json`` and ``scores.parquet``, and return their folder.

        Args:
            device: such as ``cuda``.
            advance: called with each number of images that were scored.

        Raises:
            NoWeightsError: weights are missing or damaged.
            NoScoresError: predictions of the study's own test images are.
        """
        import pandas as pd

        tables: list[pd.DataFrame] = []
        for number, candidate in enumerate(self.candidates):
            own = candidate.ensemble.known_rows("test")[[*FACTS, "label", "score"]]
            scored = self.other.index.loc[candidate.rows, FACTS].assign(
                label=candidate.labels, score=_scores(candidate, self.other, device, advance)
            )
            calibration = candidate.ensemble.calibration
            for side, table in (("internal", own), ("external", scored)):
                values = table["score"].to_numpy(np.float64)
                calibrated = np.full(len(values), np.nan) if calibration is None else calibration(values)
                tables.append(table.assign(side=side, setting=number, calibrated=calibrated))
        write_evaluation(self.folder, self._record(device), pd.concat(tables, ignore_index=True))
        return self.folder

    def _record(self, device: str) -> Evaluated:
        chosen = self.other.index.iloc[self.considered]
        seen, left_out, tested = (
            chosen[mask[self.considered]]
            for mask in (self.overlap.seen, self.overlap.left_out, self.overlap.tested)
        )
        return {
            "study": self.study.folder.name,
            "own_pack": self.own_checksum,
            "pack": {
                "name": self.other.folder.resolve().name,
                "checksum": self.other.manifest.checksum,
                "split": self.split,
                "images": len(chosen),
                "patients": int(chosen["patient"].nunique()),
            },
            "device": device,
            "overlap": {
                "seen_images": seen["image"].tolist(),
                "seen_patients": sorted(set(left_out["patient"])),
                "left_out": len(left_out),
                "tested": tested["image"].tolist(),
            },
            "settings": [_setting(each) for each in self.candidates],
        }


def prepare(
    study: TrainedStudy,
    other: Pack,
    *,
    name: str | None = None,
    split: SplitName | None = None,
    findings: Sequence[str] | None = None,
    every_setting: bool = False,
    trained_on: Path | None = None,
) -> ExternalValidation:
    """Find out which models can be judged by which images of another pack; nothing is scored or written yet.

    Args:
        study: the trained models.
        other: a pack of other patients, of the size of the study's own.
        name: of the folder in ``evaluations/``; None: that of the pack's folder.
        split: of the other pack; None: all its images.
        findings: of the study; None: all.
        every_setting: whether all settings of a finding are scored, and not only the best on validation.
        trained_on: folder of the study's own pack, where it isn't any more where the study says.

    Raises:
        UserError: the packs can't be compared, none of the findings is labelled, all images are known to the
            study, or the name belongs to the evaluation of another pack.
    """
    study.check_size(other)
    started = StudyFolder(study.folder).started()
    own_checksum = started.pack["checksum"]
    if other.manifest.checksum == own_checksum:
        raise UserError(
            f"{other.folder} is the pack that this study was trained on; 'clr-hpc report' has its test images: "
            "give a pack of other patients"
        )
    folder = study.folder / layout.EVALUATIONS / _checked_name(name, other)
    _check_free(folder, other, split)
    best = [study.best(finding) for finding in findings or study.findings]
    overlap = find_overlap(own_index(started, trained_on), other.index)
    considered = np.arange(len(other.index)) if split is None else other.rows_of(split)
    if not len(considered):
        raise UserError(f"{other.folder} has no image in split {split}; take another, or leave --split out")
    kept = considered[~overlap.left_out[considered]]
    if not len(kept):
        raise UserError(
            f"{other.folder}: all its {len(considered):,} images are of patients whom the study has trained or "
            "validated on; give a pack of other patients"
        )
    candidates = tuple(
        _candidate(setting, setting is chosen, other, kept)
        for chosen in best
        for setting in study.settings
        if setting is chosen or (every_setting and setting.finding == chosen.finding)
    )
    if all(each.gap for each in candidates):
        raise UserError(
            f"{other.folder}: it can judge none of this study's findings: {candidates[0].gap}; it has labels of "
            f"{', '.join(other.manifest.findings)}; pack it with the study's findings among its label columns"
        )
    return ExternalValidation(study, other, split, own_checksum, folder, overlap, considered, candidates)


def _checked_name(name: str | None, other: Pack) -> str:
    found = other.folder.resolve().name if name is None else name
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", found):
        raise UserError(
            f"{shown(found)} can't name the evaluation's folder: take letters, digits, ., _ and -, beginning with "
            "one of the first two, with --name"
        )
    return found


def _check_free(folder: Path, other: Pack, split: SplitName | None) -> None:
    there = read_evaluation(folder)
    if there is None or isinstance(there, Damaged):  # the latter is written anew
        return
    if (there["pack"]["checksum"], there["pack"]["split"]) != (other.manifest.checksum, split):
        of_split = there["pack"]["split"] or "all"
        raise UserError(
            f"{folder} has the evaluation on another pack, or another part of it (pack "
            f"{there['pack']['checksum'][:8]}…, split {of_split}); give this one another --name"
        )


def _candidate(setting: Ensemble, is_best: bool, other: Pack, kept: NDArray[np.int64]) -> Candidate:
    spec = setting.models[0].spec
    nothing = Candidate(setting, is_best, np.empty(0, np.int64), np.empty(0, np.int8), 0)
    if spec.task.label not in (*other.manifest.findings, NO_FINDING):
        return replace(nothing, gap=f"the pack has no label {spec.task.label}", unlabelled=len(kept))
    selected = _selected(spec, other, kept)
    if not len(selected):
        views = " or ".join(spec.training.select.view if spec.training.select else ())
        return replace(nothing, gap=f"the study selects view {views}, of which the pack has no image")
    labels = task_labels(spec.task, other)[selected]
    known = labels != UNKNOWN
    gap = "" if known.any() else f"the label {spec.task.label} is unknown in all {len(selected):,} images"
    return Candidate(setting, is_best, selected[known], labels[known], int((~known).sum()), gap)


def _selected(spec: RunSpec, other: Pack, kept: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return those rows whose view the study's runs select."""
    if spec.training.select is None:
        return kept
    return kept[other.index["view"].isin(spec.training.select.view).to_numpy(dtype=bool)[kept]]


def _scores(
    candidate: Candidate, other: Pack, device: str, advance: Callable[[int], object]
) -> NDArray[np.float64]:
    """Return the mean score of the models for each row ``(N,)``."""
    # copies, so that a setting's weights are given back before those of the next one are read
    ensemble = candidate.ensemble
    fresh = replace(ensemble, models=tuple(replace(model) for model in ensemble.models))

    def parts() -> Iterator[NDArray[np.float64]]:
        for first in range(0, len(candidate.rows), AT_ONCE):
            rows = candidate.rows[first : first + AT_ONCE]
            yield fresh.member_scores(other.gather(rows), device).mean(axis=0, dtype=np.float64)
            advance(len(rows))

    return np.concatenate([np.empty(0), *parts()])


def _setting(candidate: Candidate) -> EvaluatedSetting:
    ensemble = candidate.ensemble
    calibration = ensemble.calibration
    return {
        "spec": ensemble.models[0].spec,
        "model": ensemble.models[0].name,
        "seeds": [model.spec.seed for model in ensemble.models],
        "is_best": candidate.is_best,
        "validation_auroc": _number(ensemble.validation_auroc),
        "threshold": _number(ensemble.threshold),
        "calibration": None if calibration is None else calibration.method,
        "unlabelled": candidate.unlabelled,
        "gap": candidate.gap or None,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
