"""What cycles give for nothing: where one ends the rate is lowest, and the weights are a model of their own.

Their mean probability is a snapshot ensemble (Huang et al. 2017, arXiv:1704.00109). Their mean weights, with
batch-norm statistics taken anew, are stochastic weight averaging (Izmailov et al. 2018, arXiv:1803.05407).
"""

from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from clr_hpc.config.policy import Policy
from clr_hpc.training.checkpoint import drop_tensors, load_tensors, model_weights, save_tensors

KEPT = 5
"""The last ones; with short cycles there would be many."""


def is_cycle_end(policy: Policy, before: float, after: float) -> bool:
    """Say whether a step from ``before`` to ``after`` epochs ended a cycle of the policy."""
    half_cycle = getattr(policy, "half_cycle_epochs", None)
    if half_cycle is None:
        return False
    # a cycle that ends with a step may end a rounding error after it
    slack = 1e-9
    return int((after + slack) / (2 * half_cycle)) > int((before + slack) / (2 * half_cycle))


class Snapshots:
    """The models at a run's last cycle ends, on disk."""

    def __init__(self, folder: Path) -> None:
        """Use ``folder``, which is made at the first save."""
        self._folder = folder

    def save(self, tensors: dict[str, Tensor], samples: int) -> None:
        """Keep the ``model_tensors`` of a model as it is after ``samples`` samples."""
        self._folder.mkdir(exist_ok=True)
        save_tensors(self._folder / f"{samples:012d}.safetensors", tensors, {"samples": samples})
        drop_tensors(self._files()[:-KEPT])

    def forget_after(self, samples: int) -> None:
        """Drop models of later than ``samples``: the run goes back and will come to others."""
        drop_tensors(file for file in self._files() if int(file.stem) > samples)

    def weights(self) -> dict[int, dict[str, Tensor]]:
        """Return the ``state_dict`` of each by samples seen, the oldest first.

        Raises:
            DamagedCheckpointError: one of them is not as it was written.
        """
        return {int(file.stem): model_weights(load_tensors(file)[0]) for file in self._files()}

    def _files(self) -> list[Path]:
        return sorted(self._folder.glob("*.safetensors"))


def average_weights(snapshots: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several ``state_dict``s; counters are those of the last."""
    return {
        name: torch.stack([snapshot[name] for snapshot in snapshots]).mean(dim=0)
        if last.is_floating_point()
        else last
        for name, last in snapshots[-1].items()
    }


def load_average(model: nn.Module, snapshots: list[dict[str, Tensor]], training_batches: Iterable[Tensor]) -> None:
    """Put the mean of snapshots into a model, and take its batch-norm statistics anew on the training images."""
    model.load_state_dict(average_weights(snapshots))
    update_bn(training_batches, model)
