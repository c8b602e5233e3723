"""A process that is one rank of several. Tests start it as a script and give it orders, a line of JSON each."""

import json
import os
import signal
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from thin_alexnet import use_thin_alexnet
from torch import Tensor
from torch.distributed import PrefixStore, TCPStore

from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.models.task_model import BinaryClassifier
from clr_hpc.training import trainer
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.step import TrainingStep
from clr_hpc.training.trainer import Trainer

CPU = torch.device("cpu")


def in_step(stop_after: int, does: str) -> Callable[[], bool]:
    """Return what is asked after every step: in step ``stop_after`` it stops, raises or kills this process."""
    asked = count(1)

    def ask() -> bool:
        if next(asked) < stop_after:
            return False
        if does == "raises":
            raise ValueError("this rank alone found something wrong")
        if does == "dies":
            os.kill(os.getpid(), signal.SIGKILL)
        return does == "stops"

    return ask


def train(order: dict[str, Any], rank: int, store: TCPStore, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Train a run together with the other ranks; return the outcome, or the error, and every step's rate."""
    own_store = PrefixStore(order["name"], store)
    group = ProcessGroup(rank, order["size"], CPU, own_store, timeout_seconds=order["timeout_seconds"])
    mine = order["ranks"].get(str(rank), {})
    use_thin_alexnet(patch)
    if order["double"]:
        use_double_precision(patch)
    if "memory_images" in mine:
        have_little_memory(patch, mine["memory_images"])
    rates = note_rates(patch)
    try:
        outcome: str = train_run(
            RunSpec.model_validate(order["spec"]),
            Pack.open(Path(order["pack"])),
            Path(order["folder"]),
            group,
            in_step(mine.get("step", 10**9), mine.get("does", "")),
            RunSettings(order["checkpoint_seconds"]),
            "test",
        )
        return {"outcome": outcome, "rates": rates}
    except Exception as error:
        return {"outcome": type(error).__name__, "message": str(error), "rates": rates}


def note_rates(patch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Return a list that comes to hold progress and rate of every step."""
    rates: list[tuple[float, float]] = []
    set_lr = Trainer.set_lr

    def noted(trainer: Trainer, samples: int) -> tuple[float, float | None]:
        lr, momentum = set_lr(trainer, samples)
        rates.append((trainer.epochs(samples), lr))
        return lr, momentum

    patch.setattr(Trainer, "set_lr", noted)
    return rates


def have_little_memory(patch: pytest.MonkeyPatch, images: int) -> None:
    """Run out of memory when more training images than these are loaded at once."""
    load = TrainingStep.load

    def limited(
        step: TrainingStep, rows: NDArray[np.int64], transforms: NDArray[np.float32] | None = None
    ) -> Tensor:
        if transforms is not None and len(rows) > images:
            raise torch.OutOfMemoryError(f"{len(rows)} images are too many")
        return load(step, rows, transforms)

    patch.setattr(TrainingStep, "load", limited)


def use_double_precision(patch: pytest.MonkeyPatch) -> None:
    """Build binary classifiers, and compute everything of them, in double precision."""
    build, load, losses = trainer._build_model, TrainingStep.load, BinaryClassifier.losses
    patch.setattr(trainer, "_build_model", lambda *of: build(*of).double())
    patch.setattr(TrainingStep, "load", lambda step, rows, transforms=None: load(step, rows, transforms).double())
    patch.setattr(BinaryClassifier, "forward", lambda model, images: model.backbone(images).squeeze(1))
    patch.setattr(
        BinaryClassifier,
        "losses",
        lambda model, outputs, images, labels: losses(model, outputs, images, labels.double()),
    )


def main(rank: int, port: int) -> None:
    """Obey until there are no more orders."""
    torch.set_num_threads(1)
    store = TCPStore("127.0.0.1", port, is_master=False)
    for line in sys.stdin:
        with pytest.MonkeyPatch.context() as patch:
            print(json.dumps(train(json.loads(line), rank, store, patch)), flush=True)
    os._exit(0)  # taking torch down takes seconds


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
