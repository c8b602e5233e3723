"""Models of a study's folder as a bundle, which ``clr_hpc.inference.bundle`` reads."""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save

import clr_hpc
from clr_hpc.config.base import UserError
from clr_hpc.data.images.gray import fit_square
from clr_hpc.data.pack import Pack
from clr_hpc.inference.bundle import settings_of_bundle
from clr_hpc.inference.calibration import Calibration
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.export.check import Agreement, agreement
from clr_hpc.inference.export.graph import CALIBRATED, SCORE
from clr_hpc.inference.images import Reading
from clr_hpc.inference.model import TrainedModel
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write, sync_folder
from clr_hpc.store.bundle import (
    FORMAT_VERSION,
    BundledCalibration,
    BundledModel,
    BundledSetting,
    checksum_of,
    without_paths,
    zip_folder,
)
from clr_hpc.store.records import sha256_of


def write_bundle(
    target: Path,
    chosen: Sequence[Ensemble],
    reading: Reading,
    study: str,
    pack: Pack,
    card: str,
) -> list[Agreement]:
    """Write models of a study's folder as a bundle, once it has scored validation images as its runs did.

    Args:
        target: a folder that isn't there yet, or a ``.zip`` file.
        chosen: a setting for each finding.
        reading: how the study's images are read.
        study: its name.
        pack: the study's.
        card: the model card.

    Returns:
        One for each setting.

    Raises:
        UserError: the folder is there.
        NoWeightsError: weights are missing or damaged.
        MismatchError: the bundle's scores are others; there is no bundle then.
    """
    with _in_one_piece(target) as folder:
        (folder / layout.WEIGHTS).mkdir()
        settings = [_bundled(ensemble, folder) for ensemble in chosen]
        files = sorted((folder / layout.WEIGHTS).iterdir())
        values = {
            "format_version": FORMAT_VERSION,
            "clr_hpc": clr_hpc.__version__,
            "study": study,
            "pack": {"checksum": pack.manifest.checksum, "counts": pack.manifest.record["counts"]},
            "reading": asdict(reading),
            "settings": settings,
            "files": {
                file.relative_to(folder).as_posix(): {"bytes": file.stat().st_size, "sha256": sha256_of(file)}
                for file in files
            },
        }
        manifest = {"checksum": checksum_of(values), **values}
        (folder / layout.BUNDLE).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n", "utf-8")
        (folder / layout.MODEL_CARD).write_text(card, "utf-8")
        return _agreements(folder, chosen, pack, target)


def _bundled(ensemble: Ensemble, folder: Path) -> BundledSetting:
    """Write the tensors of a setting, and return its record."""
    calibration, threshold = ensemble.calibration, ensemble.threshold
    class_scores = None
    if not ensemble.is_binary:
        class_scores = f"{layout.WEIGHTS}/{ensemble.finding}.scores.safetensors"
        (folder / class_scores).write_bytes(save({"scores": torch.from_numpy(ensemble.basis.class_scores)}))
    return BundledSetting(
        finding=ensemble.finding,
        threshold=threshold if np.isfinite(threshold) else None,
        calibration=None if calibration is None else _numbers(calibration),
        class_scores=class_scores,
        models=[_bundled_model(model, folder) for model in ensemble.models],
    )


def _bundled_model(model: TrainedModel, folder: Path) -> BundledModel:
    names = []
    for number, state in enumerate(model.weights.states()):
        names.append(f"{layout.WEIGHTS}/{model.finding}.seed{model.spec.seed}.{number}.safetensors")
        (folder / names[-1]).write_bytes(save({name: tensor.contiguous() for name, tensor in state.items()}))
    return cast(
        BundledModel,
        {
            "run": model.run,
            "name": model.name,
            "spec": without_paths(model.spec.model_dump(mode="json")),
            "metrics": model.metrics,
            "weights": names,
        },
    )


def _numbers(calibration: Calibration) -> BundledCalibration:
    return {"method": calibration.method, "at": calibration.at.tolist(), "values": calibration.values.tolist()}


def _agreements(folder: Path, chosen: Sequence[Ensemble], pack: Pack, target: Path) -> list[Agreement]:
    _, bundled = settings_of_bundle(folder)
    return [
        agreement(partial(_scores, again, pack.manifest.size), ensemble, pack, target)
        for ensemble, again in zip(chosen, bundled, strict=True)
    ]


def _scores(ensemble: Ensemble, size: int, pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.floating]]:
    """Score images of any shape; a ``Scorer`` with the first two arguments bound."""
    scores = ensemble.member_scores(np.stack([fit_square(each, size) for each in pixels])).mean(axis=0)
    calibration = ensemble.calibration
    return {SCORE: scores} if calibration is None else {SCORE: scores, CALIBRATED: calibration(scores)}


@contextmanager
def _in_one_piece(target: Path) -> Iterator[Path]:
    """Give a folder to write to; on leaving without an error it becomes ``target``, a folder or ``.zip`` file."""
    is_zip = target.suffix.lower() == ".zip"
    if target.exists() and not is_zip:
        raise UserError(f"{target} is there already; remove it, or give another --output")
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = target.with_name(f".{target.name}.{os.getpid()}.temporary.folder")
    folder.mkdir()
    try:
        yield folder
        if is_zip:
            with atomic_write(target) as temporary:
                zip_folder(folder, temporary)
        else:
            folder.rename(target)
            sync_folder(target.parent)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
