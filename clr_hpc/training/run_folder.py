"""A run's folder: what is written where, and in which order, so that any moment's state can be read.

The formats are those of docs/architecture.md, "A run folder".
"""

import fcntl
import json
import os
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from clr_hpc.durable import write_json, written_whole
from clr_hpc.spec.run import RunSpec

if TYPE_CHECKING:
    from torch.utils.tensorboard.writer import SummaryWriter


class RunInUseError(Exception):
    """Another process trains this run."""


class RunFolder:
    """The folder of one run, held by one process at a time while it is open."""

    def __init__(self, path: Path) -> None:
        """Name the folder; ``open`` makes and locks it."""
        self.path = path
        self._writer: SummaryWriter | None = None
        self._lock: int | None = None

    def open(self, spec: RunSpec, environment: dict[str, Any], place: str) -> Self:  # noqa: ARG002
        """Make the folder, lock it, and write spec and environment.

        Raises:
            RunInUseError: another process has it open.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            self._lock = None
            raise RunInUseError(f"{self.path}: another process trains this run; wait for it or end it") from None
        write_json(self.path / "spec.json", spec.model_dump(mode="json"))
        starts = self._read_json("environment.json") or []
        write_json(self.path / "environment.json", [*starts, environment])
        return self

    def resume_at(self, samples: int) -> float:
        """Drop the metrics of steps after ``samples`` and start event files that replace them.

        Returns:
            Seconds that the run had taken until then, over all its starts.
        """
        from torch.utils.tensorboard.writer import SummaryWriter

        kept = [entry for entry in read_metrics(self.path) if entry["samples"] <= samples]
        with written_whole(self.path / "metrics.jsonl") as aside:
            aside.write_text("".join(json.dumps(entry) + "\n" for entry in kept))
        self._writer = SummaryWriter(str(self.path), purge_step=samples + 1 if samples else None, flush_secs=30)
        return max((float(entry["elapsed_seconds"]) for entry in kept), default=0.0)

    def record_step(self, samples: int, **values: float | None) -> None:
        """Append a training step's values and draw them in TensorBoard."""
        self._append({"kind": "step", "samples": samples, **values})
        for tag in ("loss", "lr", "momentum", "gradient_norm", "images_per_second"):
            self._scalar(f"training/{tag}", values.get(tag), samples)

    def record_epoch(
        self, samples: int, progress: float, split: str, metrics: dict[str, Any], elapsed: float
    ) -> None:
        """Append a split's metrics at the end of an epoch and draw them in TensorBoard."""
        position = {"kind": "epoch", "samples": samples, "progress": progress, "split": split}
        self._append({**position, **metrics, "elapsed_seconds": elapsed})
        for tag in ("loss", "accuracy", "auroc", "average_precision"):
            self._scalar(f"{tag}/{split}", metrics[tag], samples)

    def record_inputs(self, images: NDArray[np.float32], samples: int) -> None:
        """Show a few training images ``(N, H, W)`` in [0, 1], as the model sees them, in TensorBoard."""
        if self._writer is not None:
            self._writer.add_images("inputs", images[:, None], samples)

    def record_answers(
        self, samples: int, split: str, labels: NDArray[np.float32], scores: NDArray[np.float32]
    ) -> None:
        """Draw a split's precision-recall curve in TensorBoard, from labels and scores ``(N,)`` in [0, 1]."""
        if self._writer is not None:
            self._writer.add_pr_curve(f"precision_recall/{split}", labels, scores, samples)

    def finish(self, result: dict[str, Any], spec: RunSpec) -> None:
        """Write the result, after which the run counts as finished, and its hyperparameters for TensorBoard."""
        if self._writer is not None and result["status"] == "done":
            _write_hyperparameters(self._writer, spec, result["validation"])
        self._close_writer()
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
        """Close event files and give up the lock."""
        self._close_writer()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _append(self, entry: dict[str, Any]) -> None:
        with (self.path / "metrics.jsonl").open("a") as file:
            file.write(json.dumps(entry) + "\n")

    def _scalar(self, tag: str, value: float | None, samples: int) -> None:
        if self._writer is not None and value is not None:
            self._writer.add_scalar(tag, value, samples)

    def _read_json(self, name: str) -> Any:
        try:
            return json.loads((self.path / name).read_text())
        except FileNotFoundError:
            return None


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the whole lines of a run's ``metrics.jsonl``; a last line that a kill cut short is left out."""
    try:
        text = (folder / "metrics.jsonl").read_text()
    except FileNotFoundError:
        return []
    return [json.loads(line) for line in text.split("\n")[:-1]]


def latest_metrics(folder: Path) -> dict[str, dict[str, Any]]:
    """Return the newest step (key ``step``) and the newest metrics of each split (key: its name) of a run.

    Reads the end of the file only, so that many runs can be watched.
    """
    newest: dict[str, dict[str, Any]] = {}
    try:
        with (folder / "metrics.jsonl").open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            whole_lines = file.read().decode(errors="replace").split("\n")[1 if size > _TAIL_BYTES else 0 : -1]
    except FileNotFoundError:
        return newest
    for line in whole_lines:
        entry = json.loads(line)
        newest[entry.get("split", "step")] = entry
    return newest


_TAIL_BYTES = 16_384


def _write_hyperparameters(writer: "SummaryWriter", spec: RunSpec, validation: dict[str, Any]) -> None:
    """Add the spec's choices and final metrics, into the run's own event file rather than a folder beside it."""
    from torch.utils.tensorboard.summary import hparams

    policy, optimizer = spec.policy.model_dump(), spec.optimizer.model_dump()
    choices: dict[str, Any] = {
        "task": spec.task.name,
        "stage": spec.stage,
        "architecture": spec.architecture,
        "optimizer": optimizer.pop("name"),
        "policy": policy.pop("name"),
        "seed": spec.seed,
        "epochs": spec.training.epochs,
        "batch_size": spec.training.batch_size,
        **{f"optimizer.{key}": value for key, value in optimizer.items()},
        **{f"policy.{key}": value for key, value in policy.items() if value is not None},
    }
    names = ("loss", "accuracy", "auroc", "average_precision")
    final = {f"final/{name}": validation[name] for name in names if validation[name] is not None}
    for summary in hparams(choices, final):  # type: ignore[no-untyped-call]
        writer._get_file_writer().add_summary(summary)  # type: ignore[no-untyped-call]
    for tag, value in final.items():
        writer.add_scalar(tag, value, 0)
