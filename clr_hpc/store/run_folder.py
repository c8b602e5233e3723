"""A run's folder: what is written where, and in which order, so that any moment's state can be read.

The formats are those of docs/reference/formats.md, "A run folder".
"""

import errno
import fcntl
import json
import logging
import os
import uuid
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write, remove_left_over, write_json
from clr_hpc.store.checkpoints import drop, tensor_files
from clr_hpc.store.events import RunEvents
from clr_hpc.store.lease import Lease, LeaseHolder, LeaseLostError, LeaseTiming, RunInUseError
from clr_hpc.store.metrics import check_metrics, latest_metrics, read_metrics, recent_metrics
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import (
    Result,
    check_result,
    failure,
    freed_weights,
    is_done,
    read_result,
    states_of_files,
)
from clr_hpc.store.run_files import read_environments

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LeaseLostError", "RunFolder", "RunInUseError", "latest_metrics", "read_metrics"]
logger = logging.getLogger(__name__)


class RunFolder:
    """The folder of one run, held by one process at a time while it is open.

    Processes of one machine are kept apart by a lock of the kernel on ``.lock``; machines, by ``lease.json``.
    """

    def __init__(self, path: Path, timing: LeaseTiming | None = None) -> None:
        """Name the folder, which ``open`` makes."""
        self.path = path
        self._timing = timing or LeaseTiming()
        self._spec: RunSpec | None = None
        self._events: RunEvents | None = None
        self._lock: int | None = None
        self._lease: Lease | None = None

    def open(self, spec: RunSpec, environment: dict[str, Any], place: str) -> Self:
        """Make the folder, take the run for this process, and write spec and environment.

        Waits, up to ``stale_seconds`` of the timing, where a machine that held the run may be dead.

        Args:
            spec: of the run.
            environment: what ``describe_environment`` says of this process.
            place: where it is trained, for people: ``lane 2``.

        Raises:
            RunInUseError: another process has it open.
        """
        try:
            self.hold(place)
            self._spec = spec
            remove_left_over(self.path, self.path / layout.CHECKPOINTS, self.path / layout.SNAPSHOTS)
            self._drop_remains()
            self._set_aside_what_is_damaged()
            write_json(self.path / layout.SPEC, spec.model_dump(mode="json"))
            starts = read_environments(self.path) or []
            write_json(
                self.path / layout.ENVIRONMENT, [*([] if isinstance(starts, Damaged) else starts), environment]
            )
        except BaseException:
            self._give_up()
            raise
        return self

    def hold(self, place: str) -> Self:
        """Make the folder and take the run for this process, as ``open`` does; nothing else is written.

        Raises:
            RunInUseError: another process has it open.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            alone_on_machine = self._take_lock()
            lease = Lease(self.path, LeaseHolder.this_process(place), self._timing)
            lease.acquire(alone_on_machine)
            self._lease = lease
        except BaseException:
            self._give_up()
            raise
        return self

    def resume_at(self, samples: int) -> float:
        """Drop the metrics of steps after ``samples`` and start event files that replace them.

        Returns:
            Seconds that the run had taken until then, over all its starts.

        Raises:
            LeaseLostError: see ``confirm_lease``.
        """
        self.confirm_lease()
        assert self._spec is not None, "open comes first"
        self._close_events()
        metrics = check_metrics(self.path)
        for damaged in metrics.damaged:
            logger.warning("%s", damaged)
        read = zip(metrics.lines, metrics.texts, strict=True)
        kept = [(line, text) for line, text in read if line["samples"] <= samples]
        with atomic_write(self.path / layout.METRICS) as temporary:
            temporary.write_text("".join(f"{text}\n" for _, text in kept), encoding="utf-8")
        self._events = RunEvents.begin(self.path, self._spec, samples)
        return max((float(line["elapsed_seconds"]) for line, _ in kept), default=0.0)

    def confirm_lease(self) -> None:
        """Make sure that this run is still this process's: before anything is written into the folder.

        Costs next to nothing. What the methods here write, they confirm themselves.

        Raises:
            LeaseLostError: another machine has taken the run over, since this process was suspended or cut off
                from the disk for long; stop and write nothing more.
        """
        if self._lease is not None:
            self._lease.confirm()

    def record_step(self, samples: int, **values: float | None) -> None:
        """Append a training step's values and draw them in TensorBoard.

        Raises:
            LeaseLostError: see ``confirm_lease``.
        """
        self._append({"kind": "step", "samples": samples, **values})
        if self._events is not None:
            self._events.step(samples, values)

    def record_epoch(
        self, samples: int, progress: float, split: str, metrics: dict[str, Any], elapsed: float
    ) -> None:
        """Append a split's metrics at the end of an epoch and draw them in TensorBoard.

        Raises:
            LeaseLostError: see ``confirm_lease``.
        """
        position = {"kind": "epoch", "samples": samples, "progress": progress, "split": split}
        self._append({**position, **metrics, "elapsed_seconds": elapsed})
        if self._events is not None:
            self._events.epoch(samples, split, metrics)

    def record_grid(self, samples: int, progress: float, loss: float | None, images: int, elapsed: float) -> None:
        """Append the validation loss at a point of the grid, from a sample of so many images.

        Raises:
            LeaseLostError: see ``confirm_lease``.
        """
        position = {"kind": "grid", "samples": samples, "progress": progress}
        self._append({**position, "loss": loss, "images": images, "elapsed_seconds": elapsed})

    def record_inputs(self, images: "NDArray[np.float32]", samples: int) -> None:
        """Show a few training images ``(N, H, W)`` in [0, 1], as the model sees them, in TensorBoard."""
        if self._events is not None:
            self._events.inputs(samples, images)

    def record_answers(
        self, samples: int, split: str, labels: "NDArray[np.float32]", scores: "NDArray[np.float32]"
    ) -> None:
        """Draw a split's precision-recall curve in TensorBoard, from labels and scores ``(N,)`` in [0, 1]."""
        if self._events is not None:
            self._events.answers(samples, split, labels, scores)

    def finish(self, result: dict[str, Any]) -> None:
        """Write the result, after which the run counts as finished, and its final metrics for TensorBoard.

        The result of a run that is done names the files that belong to it, with their checksums.

        Raises:
            LeaseLostError: see ``confirm_lease``.
        """
        self.confirm_lease()
        if self._events is not None and result["status"] == "done":
            self._events.end(result, recent_metrics(self.path))
        self._close_events()
        files = {"files": states_of_files(self.path)} if result["status"] == "done" else {}
        write_json(self.path / layout.RESULT, result | files)

    def fail(self, result: dict[str, Any]) -> None:
        """Write the result of a run that failed, also of one that this process could not open.

        Raises:
            RunInUseError: another process trains it by now, and will write what comes of it.
        """
        if self._lease is None:
            self.hold("")
        self.finish(result)

    def result(self) -> Result | None:
        """Return the result of a run that has ended; None before that, and where it is damaged."""
        result = read_result(self.path)
        return None if isinstance(result, Damaged) else result

    @property
    def is_done(self) -> bool:
        """Whether the run was trained to its end and its files are those that its result names."""
        return is_done(check_result(self.path))

    def __enter__(self) -> Self:
        """Return self, already open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close event files and give the run up; what the disk says to that changes nothing any more."""
        try:
            self._give_up()
        except OSError as of_disk:
            logger.warning("%s: %s", self.path, of_disk)

    def _take_lock(self) -> bool:
        """Lock the folder among this machine's processes; return False where the disk has no locks."""
        self._lock = os.open(self.path / layout.LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunInUseError(f"{self.path}: another process trains this run; wait for it or end it") from None
        except OSError as error:
            if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
                raise
            return False
        return True

    def _give_up(self) -> None:
        try:
            self._close_events()
        finally:
            if self._lease is not None:
                self._lease.release()
                self._lease = None
            if self._lock is not None:
                os.close(self._lock)
                self._lock = None

    def _close_events(self) -> None:
        events, self._events = self._events, None
        if events is not None:
            events.close()

    def _append(self, entry: dict[str, Any]) -> None:
        self.confirm_lease()
        with (self.path / layout.METRICS).open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _drop_remains(self) -> None:
        """Drop the checkpoints where the folder was removed while a process trained in it, and wrote once more.

        Metrics and snapshots from before are gone then, and only training from the beginning brings them back. Two
        files that each start writes, and that a running process does not, tell: both are missing.
        """
        if (self.path / layout.SPEC).exists() or (self.path / layout.ENVIRONMENT).exists():
            return
        for folder in (layout.CHECKPOINTS, layout.SNAPSHOTS):
            if files := tensor_files(self.path / folder):
                logger.warning("%s: the run's folder was removed while it was trained; it starts again", files[-1])
                drop(files)

    def _set_aside_what_is_damaged(self) -> None:
        """Give a result that doesn't count another name, so that the run is made again.

        Damaged metrics cost the checkpoints: only training from the beginning brings all lines back. So do
        snapshots that were freed: averaged weights say that there were some.
        """
        damaged = check_result(self.path)
        if not isinstance(damaged, Damaged):
            return
        logger.warning("%s", damaged)
        result = read_result(self.path)
        freed = freed_weights(result) if isinstance(result, dict) and result["status"] == "done" else set()
        had_snapshots = "snapshots" in freed or (self.path / layout.SWA).exists()
        lacks_snapshots = had_snapshots and not tensor_files(self.path / layout.SNAPSHOTS)
        if damaged.file.name == layout.METRICS or lacks_snapshots:
            for folder in (layout.CHECKPOINTS, layout.SNAPSHOTS):
                drop(tensor_files(self.path / folder))
        file = self.path / layout.RESULT
        file.rename(file.with_name(f"{layout.RESULT}.damaged-{uuid.uuid4().hex[:8]}"))


def leave_failure(folder: Path, error: BaseException) -> None:
    """Leave an error as the result of a run in its folder, for a run whose own process could not.

    Raises:
        RunInUseError: another process trains the run by now.
        OSError: the disk does not take it.
    """
    with RunFolder(folder) as run:
        run.fail(failure(error, 0.0))
