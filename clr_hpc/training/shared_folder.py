"""A run's folder as all processes share it: the first one reads and writes, the others are told what it read.

So it need not look alike at the same moment on every machine, which network disks don't promise.
"""

import time
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from torch import Tensor, nn
from torch.optim import Optimizer

from clr_hpc.config.run import Start
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.background_writer import BackgroundWriter
from clr_hpc.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    Progress,
    model_tensors,
    save_tensors,
    state_tensors,
)
from clr_hpc.training.cycle_ends import Snapshots
from clr_hpc.training.start import baseline_tensors
from clr_hpc.training.world import World

T = TypeVar("T")


class SharedFolder:
    """The checkpoints and models of a run. What reads is called by all processes together.

    A thread writes what is saved, in that order; ``wait_until_written`` says when all of it is. Whatever saves or
    waits raises what an earlier write raised: ``LeaseLostError`` where another machine has taken the run over,
    ``OSError`` where the disk is full. ``with folder:`` ends when nothing is written any more.
    """

    def __init__(self, folder: RunFolder, world: World, checkpoint_seconds: float) -> None:
        """Use a folder that the first process has open; a checkpoint is due so many seconds after the last."""
        self.folder, self.world = folder, world
        self._checkpoints = Checkpoints(self.path / "checkpoints")
        self._snapshots = Snapshots(self.path / "snapshots")
        self._checkpoint_seconds, self._saved_at = checkpoint_seconds, time.monotonic()
        self._writer = BackgroundWriter()

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether it is time to save one, by the first process's clock, and nothing is being written."""
        is_time = time.monotonic() - self._saved_at >= self._checkpoint_seconds
        return self.world.is_first and is_time and self._writer.is_idle

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

    def snapshots(self) -> dict[int, dict[str, Tensor]]:
        """Return the ``state_dict`` at the last cycle ends by samples seen, the oldest first."""
        self.wait_until_written()
        kept = self._snapshots.weights() if self.world.is_first else {}
        samples = self.world.from_first(lambda: list(kept))
        return {seen: self.world.tensors_from_first(partial(kept.__getitem__, seen)) for seen in samples}

    def save_checkpoint(
        self, model: nn.Module, optimizer: Optimizer | None, progress: Progress
    ) -> Future[str] | None:
        """Save a checkpoint and return its SHA-256 to come, None in the processes that don't write."""
        if not self.world.is_first:
            return None
        self._saved_at = time.monotonic()
        return self._save(
            state_tensors(model, optimizer), lambda tensors: self._checkpoints.save(tensors, progress)
        )

    def save_snapshot(self, model: nn.Module, samples: int) -> None:
        """Keep the model at the end of a cycle."""
        if self.world.is_first:
            self._save(model_tensors(model), lambda tensors: self._snapshots.save(tensors, samples))

    def save_best(self, model: nn.Module, progress: Progress) -> None:
        """Keep the model as the best so far."""
        if self.world.is_first:
            best = {"progress": progress.best_progress, "validation_loss": progress.best_loss}
            path = self.path / "best.safetensors"
            self._save(model_tensors(model), lambda tensors: save_tensors(path, tensors, best))

    def save_average(self, model: nn.Module, snapshots: int) -> None:
        """Keep the mean of so many snapshots."""
        if self.world.is_first:
            path, metadata = self.path / "swa.safetensors", {"snapshots": snapshots}
            self._save(model_tensors(model), lambda tensors: save_tensors(path, tensors, metadata))

    def wait_until_written(self) -> None:
        """Return when all that was saved is on the disk."""
        self._writer.wait()

    def _save(self, tensors: dict[str, Tensor], write: Callable[[dict[str, Tensor]], T]) -> Future[T]:
        def write_if_ours(copies: dict[str, Tensor]) -> T:
            self.folder.confirm_lease()
            return write(copies)

        return self._writer.hand_over(tensors, write_if_ours)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return when nothing is written any more; where the block raised, that is the error that counts."""
        self._writer.close()
