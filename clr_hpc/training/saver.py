"""Checkpoints and models of a run on disk: rank 0 reads and writes, and broadcasts what it read.

So the folder need not look the same at the same moment on every machine, which network disks don't promise.
"""

import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from clr_hpc.config.run import WarmStart
from clr_hpc.store import layout
from clr_hpc.store.checkpoints import Progress
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import DoneResult, check_result
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    DamagedCheckpointError,
    Snapshots,
    best_damage,
    load_tensors,
    model_tensors,
    save_tensors,
)
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.timeline import AnyTimeline, untimed
from clr_hpc.training.upkeep.clean import load_last


class BaselineError(Exception):
    """The baseline of a run is missing, failed or damaged."""


def baseline_result(start: WarmStart, runs_folder: Path) -> DoneResult:
    """Return the result of the baseline in the study's ``runs`` folder.

    Raises:
        BaselineError: it has none, failed, or it or a file that it names is damaged.
    """
    folder = runs_folder / start.baseline.name
    result = check_result(folder)
    if result is None:
        raise BaselineError(f"its baseline {folder} has no result; run the study again to train it first")
    if isinstance(result, Damaged):
        raise BaselineError(f"its baseline can't be used: {result}")
    if result["status"] == "failed":
        raise BaselineError(f"its baseline {folder} failed: {result['reason']}; fix that and run the study again")
    return result


def baseline_tensors(start: WarmStart, runs_folder: Path) -> dict[str, Tensor]:
    """Return the tensors that a run starts from: ``model.*``, and ``optimizer.*`` of the last checkpoint.

    Raises:
        BaselineError: the baseline has no result, failed, or the file is damaged or not that of its result.
    """
    result = baseline_result(start, runs_folder)
    folder = runs_folder / start.baseline.name
    try:
        tensors = load_last(folder, result) if start.weights == "last" else load_tensors(folder / layout.BEST)[0]
    except DamagedCheckpointError as error:
        raise BaselineError(
            f"its baseline's weights can't be used: {error}; delete {folder} and run the study again to train it"
        ) from error
    is_freed = "weights_sha256" in result and not any(name.startswith("optimizer.") for name in tensors)
    if start.optimizer == "continued" and is_freed:
        raise BaselineError(
            f"its baseline {folder} has no optimizer state any more, which was freed to save space; delete that "
            "folder and run the study again to train it, or set optimizer: fresh"
        )
    return tensors


T = TypeVar("T")
_thread = ThreadPoolExecutor(1, "writer")
_one_copy = threading.Semaphore(1)
"""Shared by all runs of a process: a cohort's copies don't lie in memory side by side."""


class BackgroundWriter:
    """Writes a run's tensors in the order in which they are handed over.

    What a write raises is raised by the next call, so that no failure is lost.
    """

    def __init__(self) -> None:
        """Start idle."""
        self._last: Future[Any] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether all that was handed over is written, or has failed."""
        return self._last is None or self._last.done()

    def hand_over(self, tensors: dict[str, Tensor], write: Callable[[dict[str, Tensor]], T]) -> "Future[T]":
        """Copy tensors to the host and have ``write`` called with the copies; return its future result.

        Waits for what this process hands over before, so that it holds one copy at a time.

        Raises:
            Exception: what the write before this one raised.
        """

        def write_copies() -> T:
            try:
                return write(copies)
            finally:
                copies.clear()
                _one_copy.release()

        self.wait()
        _one_copy.acquire()
        try:
            copies = {
                name: tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
                for name, tensor in tensors.items()
            }
            self._last = written = _thread.submit(write_copies)
        except BaseException:
            _one_copy.release()
            raise
        return written

    def wait(self) -> None:
        """Return when all that was handed over is written.

        Raises:
            Exception: what a write raised, once.
        """
        last = self._last
        if last is not None:
            wait([last])
            self._last = None
            last.result()

    def close(self) -> None:
        """Return when nothing is being written; failures are dropped, so ``wait`` first where they matter."""
        if self._last is not None:
            wait([self._last])


class Saver:
    """The checkpoints and models of a run. What reads is called by all processes together.

    A thread writes what is saved, in that order. Whatever saves or waits raises what an earlier write raised:
    ``LeaseLostError`` where another machine has taken the run over, ``OSError`` where the disk is full. ``with
    saver:`` ends when nothing is being written any more.
    """

    def __init__(
        self,
        folder: RunFolder,
        group: ProcessGroup,
        checkpoint_seconds: float,
        timeline: AnyTimeline = untimed,
    ) -> None:
        """Use a folder that rank 0 has open; a checkpoint is due so many seconds after the last."""
        self.folder, self.group, self.timeline = folder, group, timeline
        self._checkpoints = Checkpoints(self.path / layout.CHECKPOINTS)
        self._snapshots = Snapshots(self.path / layout.SNAPSHOTS)
        self._checkpoint_seconds, self._saved_at = checkpoint_seconds, time.monotonic()
        self._writer = BackgroundWriter()

    @property
    def path(self) -> Path:
        """The run's folder."""
        return self.folder.path

    @property
    def checkpoint_is_due(self) -> bool:
        """Whether it is time to save one, by rank 0's clock, and nothing is being written."""
        is_time = time.monotonic() - self._saved_at >= self._checkpoint_seconds
        return self.group.is_rank0 and is_time and self._writer.is_idle

    def latest_checkpoint(self, unfit: Mapping[int, str]) -> Checkpoint:
        """Return the newest checkpoint that can be used, with the models that were saved before it.

        ``unfit`` is that of ``Checkpoints.latest``.
        """
        latest = self._newest_complete(unfit) if self.group.is_rank0 else Checkpoint(Progress(), {}, ())
        progress, passed_over = self.group.broadcast_from_rank0(lambda: (latest.progress, latest.passed_over))
        return Checkpoint(progress, self.group.broadcast_tensors_from_rank0(lambda: latest.tensors), passed_over)

    def _newest_complete(self, unfit: Mapping[int, str]) -> Checkpoint:
        """Return the newest checkpoint; the beginning, where a model is damaged that only training brings back."""
        latest = self._checkpoints.latest(unfit)
        damaged = best_damage(self.path / layout.BEST, latest.progress) or self._snapshots.damage(
            latest.progress.samples
        )
        if damaged is None:
            return latest
        self._checkpoints.drop_all()
        return Checkpoint(Progress(), {}, (*latest.passed_over, f"{damaged}; its checkpoints can't bring it back"))

    def resume_at(self, samples: int) -> float:
        """Drop what is recorded after ``samples``, and return the seconds that the run had taken until then."""
        return self.group.broadcast_from_rank0(lambda: self.folder.resume_at(samples))

    def baseline(self, start: WarmStart) -> dict[str, Tensor]:
        """Return the tensors that a run starts from.

        Raises:
            BaselineError: the baseline is missing, failed or damaged.
        """
        return self.group.broadcast_tensors_from_rank0(lambda: baseline_tensors(start, self.path.parent))

    def snapshots(self) -> dict[int, dict[str, Tensor]]:
        """Return the ``state_dict`` at the last cycle ends by samples seen, the oldest first."""
        self.wait_until_written()
        kept = self._snapshots.weights() if self.group.is_rank0 else {}
        samples = self.group.broadcast_from_rank0(lambda: list(kept))
        return {seen: self.group.broadcast_tensors_from_rank0(partial(kept.__getitem__, seen)) for seen in samples}

    def save_checkpoint(self, tensors: dict[str, Tensor], progress: Progress) -> Future[str] | None:
        """Save a trainer's state and return the SHA-256 to come, None in the processes that don't write."""
        self._saved_at = time.monotonic()
        return self._save(tensors, lambda copies: self._checkpoints.save(copies, progress))

    def save_snapshot(self, model: nn.Module, samples: int) -> None:
        """Keep the model at the end of a cycle."""
        self._save(model_tensors(model), lambda tensors: self._snapshots.save(tensors, samples))

    def save_best(self, model: nn.Module, progress: Progress) -> None:
        """Keep the model as the best so far."""
        best = {"progress": progress.best_progress, "validation_loss": progress.best_loss}
        path = self.path / layout.BEST
        self._save(model_tensors(model), lambda tensors: save_tensors(path, tensors, best))

    def save_average(self, model: nn.Module, snapshots: int) -> None:
        """Keep the mean of so many snapshots."""
        path, metadata = self.path / layout.SWA, {"snapshots": snapshots}
        self._save(model_tensors(model), lambda tensors: save_tensors(path, tensors, metadata))

    def wait_until_written(self) -> None:
        """Return when all that was saved is on disk."""
        with self.timeline("checkpoints"):
            self._writer.wait()

    def _save(self, tensors: dict[str, Tensor], write: Callable[[dict[str, Tensor]], T]) -> Future[T] | None:
        def write_if_ours(copies: dict[str, Tensor]) -> T:
            self.folder.confirm_lease()
            return write(copies)

        if not self.group.is_rank0:
            return None
        with self.timeline("checkpoints"):
            return self._writer.hand_over(tensors, write_if_ours)

    def __enter__(self) -> Self:
        """Return self."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Return when nothing is being written any more; where the block raised, that error is the one to know."""
        self._writer.close()
