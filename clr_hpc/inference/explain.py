"""Explain images: the heat maps of each finding, as a folder of pictures and arrays with a table."""

import re
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.pathologies import title
from clr_hpc.config.task import Autoencoder, MapMethod
from clr_hpc.inference.anomaly_maps import anomaly_maps, mapped_models
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.gradcam import enlarge, heat_maps, refusal, trained_networks
from clr_hpc.inference.images import Images
from clr_hpc.inference.localisation import Box
from clr_hpc.inference.overlay import save_overlay
from clr_hpc.store.atomic import atomic_write

_UNSAFE = re.compile(r"[^\w.-]+", re.ASCII)


@dataclass(frozen=True)
class HeatMaps:
    """Where the models of one finding look in some images."""

    ensemble: Ensemble
    names: tuple[str, ...]
    pixels: NDArray[np.uint8]
    """``(N, S, S)``."""
    scores: NDArray[np.float32]
    """``(N,)``, the mean over the seeds."""
    maps: NDArray[np.float32]
    """``(N, rows, columns)``, in [0, 1]."""

    @cached_property
    def heat(self) -> NDArray[np.float32]:
        """The maps ``(N, S, S)`` in pixels of the images."""
        return enlarge(self.maps, self.pixels.shape[1])


def why_no_maps(ensemble: Ensemble) -> str | None:
    """Return why no heat map shows what models see; None where one does."""
    spec = ensemble.models[0].spec
    if spec.task.kind == "binary":
        return refusal(spec.architecture, spec.training.image_size)
    assert spec.task.kind == "one_class", "pretraining scores nothing"
    if isinstance(spec.task.method, MapMethod | Autoencoder):
        return None
    return (
        f"{spec.task.method.title} scores an image as a whole; of one-class models, PaDiM, PatchCore and "
        "autoencoders have maps"
    )


def explain(
    chosen: Sequence[Ensemble],
    images: Iterable[Images],
    device: str = "cpu",
    only: Mapping[str, Container[str]] | None = None,
) -> Iterator[HeatMaps]:
    """Yield the heat maps of images, some hundred at a time, one finding after the other.

    Args:
        chosen: classifiers and one-class models with maps, one setting for each finding.
        images: as ``TrainedStudy.read`` gives them; those that can't be read are passed over.
        device: ``cpu``, ``cuda``, ``cuda:1`` ...
        only: by finding the names of the images to explain; None: all.

    Raises:
        UserError: a network has no map that could be shown, or is a one-class model without one.
        MissingExtraError: captum is not installed.
    """
    for part in images:
        for ensemble in chosen:
            wanted = part.names if only is None else only.get(ensemble.finding, ())
            kept = [number for number, name in enumerate(part.names) if name in wanted]
            if not kept:
                continue
            pixels = part.pixels[kept]
            yield HeatMaps(
                ensemble,
                tuple(part.names[number] for number in kept),
                pixels,
                ensemble.member_scores(pixels, device).mean(axis=0),
                _maps(ensemble, pixels, device),
            )


def _maps(ensemble: Ensemble, pixels: NDArray[np.uint8], device: str) -> NDArray[np.float32]:
    if detectors := mapped_models(ensemble):
        return anomaly_maps(detectors, ensemble, pixels, device)
    return heat_maps(trained_networks(ensemble), ensemble.models[0].spec, pixels, device)


@dataclass
class Gallery:
    """A folder of heat maps: for each image and finding a picture and an array."""

    folder: Path
    _stems: dict[str, str] = field(default_factory=dict)
    """File name, without finding and ending, of each image."""

    def add(self, found: HeatMaps, boxes: Mapping[str, Sequence[Box]] | None = None) -> list[dict[str, object]]:
        """Write maps, and return a row for each: image, finding, score, and the files' names.

        Args:
            found: the maps.
            boxes: to draw, by image, in pixels of the images.

        Raises:
            OSError: the folder can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        rows: list[dict[str, object]] = []
        for name, pixels, heat, score in zip(found.names, found.pixels, found.heat, found.scores, strict=True):
            finding = found.ensemble.finding
            stem = f"{self._stem(name)}.{finding}"
            called = "positive" if found.ensemble.is_binary else "anomalous"
            words = f"{title(finding)}: score {score:.3f}, {called} from {found.ensemble.threshold:.3f}    {name}"
            with atomic_write(self.folder / f"{stem}.png") as temporary:
                save_overlay(temporary, pixels, heat, words, (boxes or {}).get(name, ()))
            with atomic_write(self.folder / f"{stem}.npy") as temporary, temporary.open("wb") as file:
                np.save(file, heat)
            rows.append(
                {
                    "image": name,
                    "finding": finding,
                    "score": float(score),
                    "has_heat": bool(heat.any()),
                    "overlay": f"{stem}.png",
                    "array": f"{stem}.npy",
                }
            )
        return rows

    def _stem(self, name: str) -> str:
        """Return the file name of an image, with a number where images of several folders are called alike."""
        if name not in self._stems:
            plain = _UNSAFE.sub("_", Path(name).stem).lstrip(".") or "image"
            taken, stem, number = set(self._stems.values()), plain, 1
            while stem in taken:
                number += 1
                stem = f"{plain}-{number}"
            self._stems[name] = stem
        return self._stems[name]
