"""Heat maps against a pack's boxes, next to maps that know nothing of the image.

Those are of classifiers the maps of networks with random weights, and of one-class models their own maps of other
patients' images, which hold all that is alike in images, such as the heart's place.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.data.pack import Pack
from clr_hpc.data.splits import SplitName
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.explain import HeatMaps
from clr_hpc.inference.gradcam import enlarge, heat_maps, random_networks
from clr_hpc.inference.localisation import THRESHOLD, Box, Localised, chance, localise, mask_of, rank_correlation
from clr_hpc.store.explanations import (
    FORMAT_VERSION,
    ComparedRecord,
    ExplanationsRecord,
    FindingRecord,
    LocalisedRecord,
)
from clr_hpc.store.results import now

RANDOM_DRAWS = 5
"""Sets of networks with random weights, or maps of other images; a single network may look at the same corner of
all images."""


@dataclass(frozen=True)
class Boxes:
    """The boxes of a pack's images."""

    pack: Pack
    split: SplitName | None
    by_finding: dict[str, dict[str, list[Box]]]
    """By finding and image, in pixels of the pack."""
    patients: dict[str, str]
    """By image."""

    @classmethod
    def of(cls, pack: Pack, split: SplitName | None) -> "Boxes":
        """Read those of a split; None: of all images.

        Raises:
            UserError: there is none.
        """
        index = pack.index if split is None else pack.index.iloc[pack.rows_of(split)]
        patients = dict(zip(index["image"].astype(str), index["patient"].astype(str), strict=True))
        found: dict[str, dict[str, list[Box]]] = {}
        for image, finding, *sides in pack.boxes.itertuples(index=False, name=None):
            if image in patients:
                left, top, width, height = map(float, sides)
                found.setdefault(finding, {}).setdefault(image, []).append((left, top, width, height))
        if not found:
            where = "" if split is None else f" on images of the split {split}"
            raise UserError(
                f"--with-boxes: {pack.folder} has no boxes{where}; pack images whose source has them, such as "
                "'clr-hpc pack nih --boxes BBox_List_2017.csv', or leave it out"
            )
        return cls(pack, split, found, patients)

    def of_models(self, ensemble: Ensemble) -> dict[str, list[Box]]:
        """Return what the models may find, by image: boxes of their finding; of one-class models, of any."""
        if ensemble.is_binary:
            return self.by_finding.get(ensemble.finding, {})
        joined: dict[str, list[Box]] = {}
        for of_images in self.by_finding.values():
            for image, boxes in of_images.items():
                joined.setdefault(image, []).extend(boxes)
        return joined

    def compare(self, found: HeatMaps, device: str = "cpu") -> FindingRecord:
        """Return how well each map finds the boxes of its image, which has some."""
        ensemble = found.ensemble
        return {
            "finding": ensemble.finding,
            "runs": [model.run for model in ensemble.models],
            "model": ensemble.models[0].name,
            "grid": (found.maps.shape[1], found.maps.shape[2]),
            "rival": "random weights" if ensemble.is_binary else "other images",
            "images": self._compare(found, device),
        }

    def record(self, parts: Iterable[FindingRecord]) -> ExplanationsRecord:
        """Return what a study's folder keeps, of comparisons of some images each."""
        findings: dict[str, FindingRecord] = {}
        for part in parts:
            joined = findings.setdefault(part["finding"], {**part, "images": []})
            joined["images"] += part["images"]
        return {
            "format_version": FORMAT_VERSION,
            "made": now(),
            "pack": self.pack.manifest.checksum,
            "split": self.split,
            "overlap_threshold": THRESHOLD,
            "random_draws": RANDOM_DRAWS,
            "findings": list(findings.values()),
        }

    def _compare(self, found: HeatMaps, device: str) -> list[ComparedRecord]:
        spec, size = found.ensemble.models[0].spec, found.pixels.shape[1]
        draws = [
            heat_maps(random_networks(found.ensemble, draw), spec, found.pixels, device)
            if found.ensemble.is_binary
            else self._maps_of_others(found, draw)
            for draw in range(RANDOM_DRAWS)
        ]
        boxes = self.of_models(found.ensemble)
        records: list[ComparedRecord] = []
        for number, image in enumerate(found.names):
            heat = found.heat[number]
            mask = mask_of(boxes[image], size)
            by_chance = chance(heat, mask)
            of_random = [localise(enlarge(draw[number : number + 1], size)[0], mask) for draw in draws]
            agreement = [rank_correlation(found.maps[number], draw[number]) for draw in draws]
            records.append(
                {
                    "image": image,
                    "patient": self.patients[image],
                    "score": float(found.scores[number]),
                    "has_heat": bool(heat.any()),
                    "area": by_chance.area,
                    "chance_overlap": by_chance.overlap,
                    "centre": by_chance.centre,
                    "trained": _mean([localise(heat, mask)]),
                    "random": _mean(of_random),
                    "rank_correlation": _mean_of_defined(agreement),
                }
            )
        return records

    def _maps_of_others(self, found: HeatMaps, draw: int) -> NDArray[np.float32]:
        """Return for each image the map of another patient's, another one in each draw; without any, no heat."""
        owners = np.array([self.patients[image] for image in found.names])
        maps = np.zeros_like(found.maps)
        for number, owner in enumerate(owners):
            others = np.flatnonzero(owners != owner)
            if len(others):
                chosen = np.random.default_rng([draw, number]).choice(others)
                maps[number] = found.maps[chosen]
        return maps


def _mean(figures: Sequence[Localised]) -> LocalisedRecord:
    return {
        "pointing": fmean(each.pointing for each in figures),
        "inside": fmean(each.inside for each in figures),
        "overlap": fmean(each.overlap for each in figures),
    }


def _mean_of_defined(values: Sequence[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return fmean(defined) if defined else None
