"""A run's folder as all processes share it: the first one reads and writes, the others are told what it read.

So it need not look alike at the same moment on every machine, which network disks don't promise.
"""

import time
from functools import partial
from pathlib import Path

from torch import Tensor, nn
from torch.optim import Optimizer

from clr_hpc.spec.run import Start
from clr_hpc.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    Progress,
    model_tensors,
    save_tensors,
    state_tensors,
)
from clr_hpc.training.cycle_ends import Snapshots
from clr_hpc.training.run_folder import RunFolder
from clr_hpc.training.start import baseline_tensors
from clr_hpc.training.world import World


class SharedFolder:
    """The checkpoints and models of a run. What reads is called by all processes together.

    Whatever writes raises ``LeaseLostError`` where another machine has taken the run over.
    """

    def __init__(self, folder: RunFolder, world: World, checkpoint_seconds: float) -> None:
        """Use a folder that the first process has open; a checkpoint is due so many seconds after the last."""
        self.folder, self.world = folder, world
        self._checkpoints = Checkpoints(self.path / "checkpoints")
        self._snapshots = Snapshots(self.path / "snapshots")
        self._checkpoint_seconds, self._saved_at = checkpoint_seconds, time.monotonic()

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether it is time to save one, by the first process's clock."""
        return self.world.is_first and time.monotonic() - self._saved_at >= self._checkpoint_seconds

    def latest_checkpoint(self) -> Checkpoint:
        """Return the newest checkpoint that can be used."""
        latest = self._checkpoints.latest() if self.world.is_first else Checkpoint(Progress(), {}, ())
        progress, passed_over = self.world.from_first(lambda: (latest.progress, latest.passed_over))
        return Checkpoint(progress, self.world.tensors_from_first(lambda: latest.tensors), passed_over)

    def resume_at(self, samples: int) -> float:
        """Drop what is recorded after ``samples``, and return the seconds that the run had taken until then."""
        return self.world.from_first(lambda: self.folder.resume_at(samples))

    def baseline(self, start: Start) -> dict[str, Tensor]:
        """Return the tensors that a run starts from.

        Raises:
            BaselineError: the baseline is missing, failed or damaged.
        """
        return self.world.tensors_from_first(lambda: baseline_tensors(start, self.path.parent))

    def snapshots(self) -> list[dict[str, Tensor]]:
        """Return the ``state_dict`` at the last cycle ends, the oldest first."""
        kept = self._snapshots.weights() if self.world.is_first else []
        count = self.world.from_first(lambda: len(kept))
        return [self.world.tensors_from_first(partial(kept.__getitem__, number)) for number in range(count)]

    def save_checkpoint(self, model: nn.Module, optimizer: Optimizer | None, progress: Progress) -> str | None:
        """Save a checkpoint and return its SHA-256, None in the processes that don't write."""
        if not self.world.is_first:
            return None
        self.folder.confirm_lease()
        checksum = self._checkpoints.save(state_tensors(model, optimizer), progress)
        self._saved_at = time.monotonic()
        return checksum

    def save_snapshot(self, model: nn.Module, samples: int) -> None:
        """Keep the model at the end of a cycle."""
        if self.world.is_first:
            self.folder.confirm_lease()
            self._snapshots.save(model, samples)

    def save_best(self, model: nn.Module, progress: Progress) -> None:
        """Keep the model as the best so far."""
        if self.world.is_first:
            self.folder.confirm_lease()
            best = {"progress": progress.best_progress, "validation_loss": progress.best_loss}
            save_tensors(self.path / "best.safetensors", model_tensors(model), best)

    def save_average(self, model: nn.Module, snapshots: int) -> None:
        """Keep the mean of so many snapshots."""
        if self.world.is_first:
            self.folder.confirm_lease()
            save_tensors(self.path / "swa.safetensors", model_tensors(model), {"snapshots": snapshots})
