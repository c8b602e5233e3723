"""Whether the heat maps of one-class methods find boxes: of the phantom, and of NIH's radiologist."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import yaml
from rich.table import Table
from scipy.ndimage import uniform_filter

from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.source import Box, ImageRecord, SourceTable
from clr_hpc.data.sources.nih import NihSource
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.sources.phantom.source import draw_film
from clr_hpc.data.splits import OfficialSplit, SeededSplit
from clr_hpc.inference.boxes import Boxes
from clr_hpc.inference.explain import explain
from clr_hpc.inference.study import load
from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.localisation import found_boxes
from clr_hpc.store.explanations import ExplanationsRecord
from parts.lite0 import ARCHITECTURE, write_weights

METHODS = [{"name": "padim", "strides": [4, 8], "grid": 16}, {"name": "patchcore", "strides": [4, 8], "grid": 16}]
SMOOTHING, EDGE = 9, 0.5
"""Pixels of a film; share of the largest difference from which on a finding is there."""


class PhantomWithBoxes(PhantomSource):
    """The phantom with a box around each of some findings: where the film differs from one without it."""

    wanted = ("cardiomegaly", "effusion", "mass", "pneumothorax")

    def table(self) -> SourceTable:
        """Return the films with their boxes."""
        table = super().table()
        return replace(table, boxes=tuple(box for record in table.records for box in self._boxes(record)))

    def _boxes(self, record: ImageRecord) -> Iterator[Box]:
        patient, follow_up = self._find(record.image)
        examination = patient.examinations[follow_up]
        for finding in self.wanted:
            others = tuple(lesion for lesion in examination.lesions if lesion.pathology != finding)
            if len(others) < len(examination.lesions):
                films = (draw_film(patient, each) for each in (examination, replace(examination, lesions=others)))
                with_it, without = (film.astype(np.float32) for film in films)
                yield Box(record.image, finding, *_around(np.abs(with_it - without)))


def _around(difference: np.ndarray) -> tuple[float, float, float, float]:
    """Return left, top, width and height, in shares of the film, of what differs by half of the most or more."""
    smooth = uniform_filter(difference, SMOOTHING)
    rows, columns = np.nonzero(smooth >= EDGE * smooth.max())
    top, left, side = int(rows.min()), int(columns.min()), len(difference)
    return left / side, top / side, (int(columns.max()) + 1 - left) / side, (int(rows.max()) + 1 - top) / side


def packs(data: Path | None, folder: Path, films: int) -> Iterable[tuple[str, Path, int]]:
    """Build the packs that are not there, and yield name, folder and side of each."""
    phantom = folder / "boxed-phantom"
    if not phantom.exists():
        build_pack(
            PhantomWithBoxes(images=films), phantom, 64, SeededSplit(validation_fraction=0.1, test_fraction=0.3)
        )
    yield "phantom", phantom, 64
    if data is not None:
        own, real = data / "nih-mini", folder / "boxed-real"
        if not real.exists():
            lists = {"train_val_list": own / "train_val_list.txt", "test_list": own / "test_list.txt"}
            table = own / "Data_Entry_2017_v2020.csv.gz"
            source = NihSource(own / "images", table, **lists, boxes=own / "BBox_List_2017.csv.gz", subset=True)
            build_pack(source, real, 128, OfficialSplit(validation_fraction=0.2))
        yield "real", real, 128


def table(data: Path | None, folder: Path, films: int) -> Table:
    """Return one row per pack, method and figure, measured as by ``explain --with-boxes``."""
    weights = str(write_weights(folder / "lite0.pt"))
    heads = ("films", "method", "figure", "mean", "by chance", "maps of other films", "middle", "result")
    result = Table(*heads, title="heat maps against boxes on test films; intervals are over patients")
    for name, pack, side in packs(data, folder, films):
        network = {"network": ARCHITECTURE, "weights": weights, "normalisation": {"mean": 0.5, "std": 0.5}}
        study = {
            "name": name,
            "pack": str(pack),
            "pathologies": [],
            "one_class": [{"methods": METHODS, "features": network}],
            "optimizers": ["sgd"],
            "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.01}},
            "stages": {"scratch": {"policies": ["constant"]}},
            "training": {"epochs": 1, "image_size": side},
        }
        file = folder / f"{name}.yaml"
        file.write_text(yaml.safe_dump(study))
        results = folder / "results"
        command = [sys.executable, "-m", "clr_hpc", "run", str(file), "--no-plan", "--results", str(results)]
        subprocess.run(command, check=True)
        for found in found_boxes(_compared(results / name, Pack.open(pack)), np.random.default_rng(0)):
            for kind, figure in found.figures.items():
                middle = f"{found.centre:.3f}" if kind == "pointing" else ""
                rivals = (f"{figure.chance:.3f}", f"{figure.random:.3f}", middle)
                of = f"{name} ({found.images})"
                result.add_row(
                    of, found.finding, kind, _bounded(figure.value, figure.interval), *rivals, figure.result
                )
    return result


def _bounded(value: float, interval: Interval | None) -> str:
    return f"{value:.3f}" + ("" if interval is None else f" ({interval.low:.3f} to {interval.high:.3f})")


def _compared(study: Path, pack: Pack) -> ExplanationsRecord:
    boxes, trained = Boxes.of(pack, "test"), load(study)
    chosen = [trained.best(finding) for finding in trained.findings]
    boxed = {each.finding: boxes.of_models(each) for each in chosen}
    return boxes.record(boxes.compare(maps) for maps in explain(chosen, trained.read(pack, "test"), "cpu", boxed))
