"""The spec of a run that takes a second: what tests of training start from."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from clr_hpc.config.network import NETWORKS
from clr_hpc.config.optimizer import Sgd
from clr_hpc.config.policy import Triangular
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack

EPOCHS, BATCH_SIZE = 2, 16
NETWORK = "timm/test_efficientnet"
"""Depthwise convolutions and batch norm, as MobileNetV1, with a tenth of its weights: timm's own for tests."""
WAVE = Triangular(lr_min=0.001, lr_max=0.02, half_cycle_epochs=0.5)


def make_spec(pack: Pack, training: Mapping[str, object] | None = None, **changes: object) -> RunSpec:
    """Return a run on small images; ``training`` is laid over its settings, ``changes`` over the rest."""
    values: dict[str, object] = {
        "pack_checksum": pack.manifest.checksum,
        "task": {"kind": "binary", "pathology": "cardiomegaly"},
        "stage": "scratch",
        "architecture": NETWORK,
        "optimizer": Sgd(),
        "policy": WAVE,
        "training": {"epochs": EPOCHS, "image_size": 32, "batch_size": BATCH_SIZE} | dict(training or {}),
    }
    return RunSpec.model_validate(values | changes)


def compile_at_once(patch: pytest.MonkeyPatch, architecture: str) -> None:
    """Let compiling a network pay for every run."""
    patch.setitem(NETWORKS, architecture, replace(NETWORKS[architecture], compiling_pays_from_pixels=0))
