"""The report's section on heat maps: how well they find the boxes of images, from ``explanations.json``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import ReportError
from clr_hpc.reporting.stats.evaluate import BOOTSTRAP_SEED
from clr_hpc.reporting.stats.localisation import FoundBoxes, found_boxes
from clr_hpc.reporting.tables.localisation import localisation_csv, localisation_table
from clr_hpc.reporting.tables.table import Table
from clr_hpc.store.explanations import ExplanationsRecord, read_explanations
from clr_hpc.store.records import Damaged

_RIVALS = {"random weights": "with random weights", "maps of other images": "by maps of other images"}


@dataclass(frozen=True, slots=True)
class HeatMaps:
    """What is shown of a study's heat maps."""

    sentences: Sequence[str]
    table: Table
    csv: str
    threshold: float
    draws: int
    """Of random weights."""


def read_heat_maps(study_folder: Path, pack: str) -> HeatMaps | None:
    """Read how well a study's heat maps find boxes; None where that was not measured.

    Args:
        study_folder: of the study.
        pack: checksum of the study's own pack.

    Raises:
        ReportError: the file is damaged.
    """
    record = read_explanations(study_folder)
    if isinstance(record, Damaged):
        raise ReportError(str(record))
    if record is None:
        return None
    found = found_boxes(record, np.random.default_rng(BOOTSTRAP_SEED))
    return HeatMaps(
        [*_results(found), _images(record, found, pack)],
        localisation_table(found),
        localisation_csv(record, found),
        record["overlap_threshold"],
        record["random_draws"],
    )


def _results(found: Sequence[FoundBoxes]) -> list[str]:
    """Return a sentence for each result of the pointing game, with its findings."""
    by_result: dict[str, list[FoundBoxes]] = {}
    for each in found:
        by_result.setdefault(each.pointing.result, []).append(each)
    sentences = []
    for result, findings in by_result.items():
        figures = [
            f"{each.finding} ({each.pointing.value:.0%} of {wording.count(each.images, 'image')}, by chance "
            f"{each.pointing.chance:.0%}, {_RIVALS[each.pointing.rival]} {each.pointing.random:.0%}, "
            f"always at the middle of the image {each.centre:.0%})"
            for each in findings
        ]
        sentences.append(f"Pointing into a box, {result}: {wording.listed(figures)}.")
    return sentences


def _images(record: ExplanationsRecord, found: Sequence[FoundBoxes], pack: str) -> str:
    """Return on which images that was measured, and what it can't say."""
    whose = "the study’s pack" if record["pack"] == pack else f"another pack ({record['pack'][:12]})"
    which = f"of the {record['split']} split of {whose}" if record["split"] else f"of {whose}, of all splits"
    learned = record["pack"] == pack and record["split"] in (None, "train")
    caution = " The models were trained on some of these images." if learned else ""
    several = " and adjusted for nothing" if len(found) > 1 else ""
    return (
        f"Measured on images with boxes {which}.{caution} Intervals are over patients, for these very models; "
        f"results are exploratory{several}."
    )
