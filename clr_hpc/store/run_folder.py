"""A run's folder: what is written where, and in which order, so that any moment's state can be read.

The formats are those of docs/reference/formats.md, "A run folder".
"""

import errno
import fcntl
import json
import os
import traceback
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from clr_hpc.config.run import RunSpec
from clr_hpc.store.atomic import atomic_write, write_json
from clr_hpc.store.events import RunEvents
from clr_hpc.store.lease import Lease, LeaseHolder, LeaseLostError, LeaseTiming, RunInUseError
from clr_hpc.store.metrics import latest_metrics, read_metrics

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["LeaseLostError", "RunFolder", "RunInUseError", "latest_metrics", "read_metrics"]


class RunFolder:
    """The folder of one run, held by one process at a time while it is open.

    Processes of one machine are kept apart by a lock of the kernel on ``.lock``; machines, by ``lease.json``.
    """

    def __init__(self, path: Path, timing: LeaseTiming | None = None) -> None:
        """Name the folder; ``open`` makes it and takes the run."""
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
        self.path.mkdir(parents=True, exist_ok=True)
        try:
            alone_on_machine = self._take_lock()
            lease = Lease(self.path, LeaseHolder.this_process(place), self._timing)
            lease.acquire(alone_on_machine)
            self._lease = lease
            self._spec = spec
            write_json(self.path / "spec.json", spec.model_dump(mode="json"))
            starts = self._read_json("environment.json") or []
            write_json(self.path / "environment.json", [*starts, environment])
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
        kept = [entry for entry in read_metrics(self.path) if entry["samples"] <= samples]
        with atomic_write(self.path / "metrics.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
        self._events = RunEvents.begin(self.path, self._spec, samples)
        return max((float(entry["elapsed_seconds"]) for entry in kept), default=0.0)

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

        Raises:
            LeaseLostError: see ``confirm_lease``.
        """
        self.confirm_lease()
        if self._events is not None and result["status"] == "done":
            self._events.end(result)
        self._close_events()
        write_json(self.path / "result.json", result)

    def result(self) -> dict[str, Any] | None:
        """Return the result of a finished run, else None."""
        result: dict[str, Any] | None = self._read_json("result.json")
        return result

    def __enter__(self) -> Self:
        """Return self, already open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close event files and give the run up."""
        self._give_up()

    def _take_lock(self) -> bool:
        """Lock the folder among this machine's processes; return False where the disk has no locks."""
        self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
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
        self._close_events()
        if self._lease is not None:
            self._lease.release()
            self._lease = None
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_events(self) -> None:
        if self._events is not None:
            self._events.close()
            self._events = None

    def _append(self, entry: dict[str, Any]) -> None:
        self.confirm_lease()
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _read_json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None


def newest_checkpoint(run_folder: Path) -> int:
    """Return the samples seen at a run's newest checkpoint, -1 without one."""
    files = (run_folder / "checkpoints").glob("*.safetensors")
    return max((int(file.stem) for file in files), default=-1)


def is_done(result: dict[str, Any] | None) -> bool:
    """Say whether a run's result is that of a finished training."""
    return result is not None and result["status"] == "done"


def failure(error: BaseException, seconds: float) -> dict[str, Any]:
    """Return the result of a run that raised."""
    return failed(f"{type(error).__name__}: {error}", "".join(traceback.format_exception(error)), seconds)


def failed(reason: str, trace: str, seconds: float) -> dict[str, Any]:
    seconds = round(seconds, 3)
    return {"status": "failed", "reason": reason, "traceback": trace, "seconds": seconds, "ended": now()}


def now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
