"""Checkpoints: complete, checksummed, written atomically; a run that trains keeps its last two.

A checkpoint is a safetensors file: no pickle, and the same state gives the same bytes. It holds the model, the
optimizer's state and the progress; order, augmentation and dropout are functions of seed and progress
(``clr_hpc.training.data``), and the rate is one of progress alone, so there is nothing else to keep.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import update_bn

from clr_hpc.config.policy import Policy
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.checkpoints import (
    REMEDY,
    Progress,
    checksum_damage,
    drop,
    parse_progress,
    progress_metadata,
    tensor_files,
    write_checksum,
)
from clr_hpc.store.layout import tensors_name
from clr_hpc.store.records import Damaged, sha256_of

KEPT = 2


class DamagedCheckpointError(Exception):
    """A checkpoint is missing, or its bytes are not those that were written."""


@dataclass(frozen=True)
class Checkpoint:
    """The newest checkpoint that can be used."""

    progress: Progress
    tensors: dict[str, Tensor]
    """Empty where the run starts from its beginning."""
    passed_over: tuple[str, ...]
    """One message for each newer one that is damaged or holds values that are not finite."""


class Checkpoints:
    """The checkpoints of one run."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made at the first save."""
        self.folder = folder

    def path(self, samples: int) -> Path:
        """Return the file of the checkpoint after ``samples`` samples."""
        return self.folder / tensors_name(samples)

    def save(self, tensors: dict[str, Tensor], progress: Progress) -> str:
        """Write a checkpoint of these tensors, keep the one before it, delete older ones, and return its SHA-256.

        Newer ones are there only where they were passed over: they stay, and take nothing's place.
        """
        self.folder.mkdir(exist_ok=True)
        path = self.path(progress.samples)
        checksum = save_tensors(path, tensors, progress_metadata(progress))
        drop([older for older in self._newest_first() if older < path][KEPT - 1 :])
        return checksum

    def keep_alone(self, samples: int) -> None:
        """Delete all but the checkpoint after ``samples`` samples: a run that is done needs no other."""
        drop(path for path in self._newest_first() if path != self.path(samples))

    def drop_all(self) -> None:
        """Delete all: the run starts from its beginning."""
        drop(self._newest_first())

    def latest(self, unfit: Mapping[int, str] = MappingProxyType({})) -> Checkpoint:
        """Read the newest checkpoint that is undamaged and finite; none is the beginning.

        Args:
            unfit: those, by samples seen, that are no checkpoints of this run, and why.
        """
        messages = []
        for path in self._newest_first():
            if int(path.stem) in unfit:
                messages.append(f"{path}: {unfit[int(path.stem)]}; {REMEDY}")
                continue
            try:
                tensors, metadata = load_tensors(path)
            except DamagedCheckpointError as error:
                messages.append(str(error))
                continue
            progress = parse_progress(metadata, path)
            if isinstance(progress, Damaged):
                messages.append(str(progress))
            elif self.path(progress.samples) != path:
                messages.append(f"{path}: its metadata is that of {progress.samples} samples seen; {REMEDY}")
            elif not all_finite(tensors.values()):
                messages.append(f"{path}: it holds values that are not finite")
            else:
                return Checkpoint(progress, tensors, tuple(messages))
        return Checkpoint(Progress(), {}, tuple(messages))

    def _newest_first(self) -> list[Path]:
        return tensor_files(self.folder)[::-1]


def save_tensors(
    path: Path,
    tensors: dict[str, Tensor],
    metadata: dict[str, Any],
    announce: Callable[[str], object] = lambda _: None,
) -> str:
    """Write tensors and metadata as a safetensors file with its checksum in a file next to it; return the SHA-256.

    The checksum file has the form that ``sha256sum --check`` reads. It is written second: a file without it counts
    as damaged. ``announce`` is called with the SHA-256 before the file takes the place of another.
    """
    with atomic_write(path) as temporary:
        # one metadata key only: the writer does not fix an order for several
        save_file(
            {name: tensor.contiguous() for name, tensor in tensors.items()},
            temporary,
            {"json": json.dumps(metadata)},
        )
        checksum = sha256_of(temporary)
        announce(checksum)
    write_checksum(path, checksum)
    return checksum


def load_tensors(path: Path, expected: str | None = None) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of ``save_tensors`` onto the CPU.

    Args:
        path: the file.
        expected: the SHA-256 it must have; None takes that of the checksum file.

    Raises:
        DamagedCheckpointError: it is missing, its checksum is missing or differs.
    """
    if (damaged := checksum_damage(path, expected)) is not None:
        raise DamagedCheckpointError(str(damaged))
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            metadata = dict(json.loads(file.metadata()["json"]))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedCheckpointError(f"{path}: it is not a file of tensors: {error!r}; {REMEDY}") from error
    return tensors, metadata


def best_damage(file: Path, progress: Progress) -> Damaged | None:
    """Return what is wrong with the best weights so far; None also where there are none.

    Weights that are newer than the checkpoint are made again on the way. A writer that was killed may have left
    those without their checksum.
    """
    if progress.best_loss is None or not file.exists():
        return None
    damaged = checksum_damage(file)
    if damaged is None:
        return None
    try:
        with safe_open(file, framework="pt") as opened:
            is_newer = json.loads(opened.metadata()["json"])["progress"] > progress.best_progress
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError):
        is_newer = False
    return None if is_newer else damaged


def model_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return a model's state under the names that it has in files."""
    return {f"model.{name}": value for name, value in model.state_dict().items()}


def model_weights(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the ``state_dict`` of the model in a file's tensors."""
    return {name.removeprefix("model."): value for name, value in tensors.items() if name.startswith("model.")}


def state_tensors(model: nn.Module, optimizer: Optimizer | None) -> dict[str, Tensor]:
    """Return all that a checkpoint holds besides the progress."""
    return model_tensors(model) | (optimizer_tensors(optimizer) if optimizer else {})


def all_finite(tensors: Iterable[Tensor]) -> bool:
    """Say whether no tensor holds an infinite or undefined value; waits for the device once."""
    # an undefined or infinite value shows in these two, and one pass without copies finds them
    extremes = [
        torch.stack(torch.aminmax(tensor)) for tensor in tensors if tensor.is_floating_point() and tensor.numel()
    ]
    return not extremes or bool(
        torch.cat([both.to(extremes[0].device).double() for both in extremes]).isfinite().all()
    )


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return an optimizer's state under the names that it has in files."""
    return {
        f"optimizer.{index}.{key}": torch.as_tensor(value)
        for index, state in optimizer.state_dict()["state"].items()
        for key, value in state.items()
        if value is not None
    }


def restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put the state in a file's tensors into an optimizer; rates are left to the policy."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, key = name.split(".", 2)
            state.setdefault(int(index), {})[key] = _laid_out_like(parameters[int(index)], value)
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _laid_out_like(parameter: Tensor, value: Tensor) -> Tensor:
    """Copy a state into the parameter's memory layout, without which the next step may round otherwise."""
    if value.shape != parameter.shape:
        return value
    return torch.empty_like(parameter, dtype=value.dtype, device="cpu").copy_(value)


KEPT_SNAPSHOTS = 5
"""The last ones; short cycles would leave many."""


def is_cycle_end(policy: Policy, before: float, after: float) -> bool:
    """Say whether a step from ``before`` to ``after`` epochs ended a cycle of the policy."""
    cycle = policy.cycle_epochs
    if cycle is None:
        return False
    # a cycle that ends with a step may end a rounding error after it
    slack = 1e-9
    return int((after + slack) / cycle) > int((before + slack) / cycle)


class Snapshots:
    """The models at a run's last cycle ends, on disk, where the rate is lowest.

    Their mean probability is a snapshot ensemble (Huang et al. 2017, arXiv:1704.00109).
    """

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made at the first save."""
        self._folder = folder

    def save(self, tensors: dict[str, Tensor], samples: int) -> None:
        """Keep the ``model_tensors`` of a model as it is after ``samples`` samples."""
        self._folder.mkdir(exist_ok=True)
        save_tensors(self._folder / tensors_name(samples), tensors, {"samples": samples})
        drop(self._files()[:-KEPT_SNAPSHOTS])

    def forget_after(self, samples: int) -> None:
        """Delete models of later than ``samples``: the run resumes before them."""
        drop(file for file in self._files() if int(file.stem) > samples)

    def damage(self, samples: int) -> Damaged | None:
        """Return what is wrong with the first damaged one of up to ``samples``: later ones are made again."""
        checked = (checksum_damage(file) for file in self._files() if int(file.stem) <= samples)
        return next((damaged for damaged in checked if damaged is not None), None)

    def weights(self) -> dict[int, dict[str, Tensor]]:
        """Return the ``state_dict`` of each by samples seen, the oldest first.

        Raises:
            DamagedCheckpointError: one of them is damaged.
        """
        return {int(file.stem): model_weights(load_tensors(file)[0]) for file in self._files()}

    def _files(self) -> list[Path]:
        return tensor_files(self._folder)


def average_weights(snapshots: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several ``state_dict``s; counters are those of the last."""
    return {
        name: torch.stack([snapshot[name] for snapshot in snapshots]).mean(dim=0)
        if last.is_floating_point()
        else last
        for name, last in snapshots[-1].items()
    }


def load_average(model: nn.Module, snapshots: list[dict[str, Tensor]], training_batches: Iterable[Tensor]) -> None:
    """Load the mean of snapshots into a model, and recompute its batch-norm statistics on the training images.

    Stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407).
    """
    model.load_state_dict(average_weights(snapshots))
    update_bn(training_batches, model)
