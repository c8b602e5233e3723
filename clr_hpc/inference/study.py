"""A study's trained models: which there are, which is the best by validation, and what they say of new images."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError, unknown
from clr_hpc.config.pathologies import in_order, parse_finding
from clr_hpc.data.manifest import MANIFEST
from clr_hpc.data.pack import Pack
from clr_hpc.data.splits import SplitName
from clr_hpc.inference.bundle import settings_of_bundle
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.images import AT_ONCE, Images, Reading, files_of, read_arrays, read_files
from clr_hpc.inference.model import TrainedModel
from clr_hpc.inference.runs import settings_of_runs
from clr_hpc.store.bundle import is_bundle

if TYPE_CHECKING:
    import pandas as pd
    from PIL import Image

    One = NDArray[Any] | Image.Image
    Given = str | Path | Sequence[str | Path] | One | Sequence[One] | Pack


@dataclass(frozen=True)
class TrainedStudy:
    """The models of a study's folder or of a bundle; ``clr_hpc.load`` makes one."""

    folder: Path
    reading: Reading
    settings: tuple[Ensemble, ...]
    """The models that differ in their seeds alone, together."""

    @cached_property
    def models(self) -> tuple[TrainedModel, ...]:
        """Of all runs that are done: last weights and, of cyclical ones, ``snapshots`` and ``swa``."""
        return tuple(model for setting in self.settings for model in setting.models)

    @cached_property
    def findings(self) -> tuple[str, ...]:
        """What its models score: findings in the order of tables, then one-class tasks."""
        binary = {model.finding for model in self.models if model.is_binary}
        return (*in_order(binary), *sorted({model.finding for model in self.models} - binary))

    def best(self, finding: str) -> Ensemble:
        """Return the setting with the highest AUROC on the validation split, all its seeds together.

        A setting is architecture, optimizer, stage, policy and kind of weights; the mean over its seeds counts.
        Of equal ones, and where validation has no AUROC, it is the first in the order of the study's runs. The
        test split has no part in it.

        Raises:
            UserError: no run of this finding is done.
        """
        name = finding if finding in self.findings else parse_finding(finding)
        if name not in self.findings:
            mistake = unknown("finding of this study's models", finding, list(self.findings))
            raise UserError(f"{mistake}; models are those of the runs that are done")
        settings = [setting for setting in self.settings if setting.finding == name]
        return max(settings, key=lambda setting: np.nan_to_num(setting.validation_auroc, nan=-1.0))

    def predict(
        self,
        images: "Given",
        findings: Sequence[str] | None = None,
        device: str = "cpu",
        split: SplitName | None = None,
    ) -> "pd.DataFrame":
        """Score images with the best setting of each finding.

        Args:
            images: paths of files, folders or patterns, arrays ``(H, W)`` of 8 or 16 bits, pictures of Pillow, or
                a pack.
            findings: of ``self.findings``; None: all.
            device: such as ``cuda``.
            split: of a pack; None: all its images.

        Returns:
            A row for each image; ``clr_hpc.inference.table`` names the columns. Images that can't be read have
            a ``reason`` and no scores.
        """
        from clr_hpc.inference.table import scored

        chosen = [self.best(finding) for finding in findings or self.findings]
        return scored(chosen, self._read(images, split), device)

    def read(self, images: "Pack | Iterable[Path]", split: SplitName | None = None) -> Iterator[Images]:
        """Yield files, or the images of a pack, as squares of the size that the study's pack has.

        Raises:
            UserError: the pack has images of another size.
        """
        if not isinstance(images, Pack):
            yield from read_files(list(images), self.reading)
            return
        self.check_size(images)
        rows = np.arange(len(images.index)) if split is None else images.rows_of(split)
        names = images.index["image"].to_numpy(dtype=str)
        for first in range(0, len(rows), AT_ONCE):
            part = rows[first : first + AT_ONCE]
            yield Images(tuple(names[part]), images.gather(part), ())

    def check_size(self, pack: Pack) -> None:
        """See that a pack has images of the size of the study's own.

        Raises:
            UserError: it hasn't.
        """
        if pack.manifest.size != self.reading.size:
            raise UserError(
                f"{pack.folder} has images of {pack.manifest.size} pixels a side, and this study's pack of "
                f"{self.reading.size}; pack them with --size {self.reading.size}"
            )

    def _read(self, images: "Given", split: SplitName | None) -> Iterator[Images]:
        if isinstance(images, Pack):
            return self.read(images, split)
        several = list(images) if isinstance(images, list | tuple) else [images]
        paths = [each for each in several if isinstance(each, str | Path)]
        if len(paths) == len(several) == 1 and (Path(paths[0]) / MANIFEST).exists():
            return self.read(Pack.open(paths[0]), split)
        if len(paths) == len(several):
            return self.read(files_of(paths))
        return iter([read_arrays(several, self.reading)])


def load(folder: str | Path) -> TrainedStudy:
    """Return the trained models of a study, of the runs that are done so far, or those of a bundle.

    Args:
        folder: of the study, such as ``results/quickstart``; or a bundle, as a folder or a ``.zip`` file.

    Raises:
        DamagedError: the bundle's manifest is damaged.
        NothingThereError: no study was started there.
        UserError: none of its runs is done.
    """
    path = Path(folder)
    return TrainedStudy(path, *(settings_of_bundle(path) if is_bundle(path) else settings_of_runs(path)))
