"""``result.json`` of a run: how it ended, and which files belong to that."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from traceback import format_exception
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.config.given_file import mistake_of
from clr_hpc.store import layout
from clr_hpc.store.records import (
    Count,
    Damaged,
    Epochs,
    Number,
    PolicyRate,
    Seconds,
    Sha256,
    Time,
    read_record,
    record,
    sha256_of,
)

REMEDY = "'clr-hpc run' trains the run again"
VERIFIED = (layout.METRICS, layout.PREDICTIONS)
"""Files of a done run whose checksums are verified wherever its result counts."""
_OF_THE_SPEC = re.compile(
    r"(rank \d+ of \d+: )?(BaselineError: .* failed: )?(FloatingPointError|EmptyTaskError|ValueError): "
)
"""Reasons with which the same spec fails on any machine: it diverges, or a value of it is of no use."""
WEIGHTS = (layout.BEST, layout.SWA)
"""Files whose checksums are verified where they are loaded. They may be deleted to save space."""


@record
class SplitMetrics(TypedDict):
    """A model on one split; None where a metric isn't defined."""

    loss: Number | None
    accuracy: Number | None
    auroc: Number | None
    average_precision: Number | None
    images: Count
    positives: Count


@record
class ModelMetrics(TypedDict):
    """A model on all splits."""

    train: SplitMetrics
    validation: SplitMetrics
    test: SplitMetrics
    threshold: NotRequired[Number | None]


@record
class Cost(TypedDict):
    """What training took."""

    steps: Count
    images: Count
    seconds: Seconds
    cpu_hours: Seconds
    gpu_hours: Seconds


@record
class Reached(TypedDict):
    """When the target was reached."""

    steps: Count
    images: NotRequired[Count]
    progress: NotRequired[Epochs]
    seconds: NotRequired[Seconds]


@record
class Target(TypedDict):
    """The best validation loss of the baseline that a run starts from."""

    validation_loss: Number
    reached_at: Reached | None


@record
class OnGrid(TypedDict):
    """The validation loss on the grid of steps, estimated from a sample of the split."""

    images: Count
    points_per_epoch: Count
    best_loss: Number | None
    target: Target | None
    """As ``DoneResult.target``, measured on the grid; None where there is no baseline that was."""


@record
class Best(TypedDict):
    """The lowest validation loss, and after how many epochs."""

    progress: Epochs
    validation_loss: Number | None


@record
class DivergenceEntry(TypedDict):
    """A return to a checkpoint with lower rates."""

    samples: Count
    lr_max: PolicyRate


@record
class FileState(TypedDict):
    """A file as it was when the run was done."""

    bytes: Count
    sha256: Sha256


@record
class DoneResult(TypedDict):
    """A run that was trained to its end. A range test has no models, and its splits are None."""

    status: Literal["done"]
    reason: NotRequired[None]
    samples: Count
    epochs: Epochs
    stopped_early: NotRequired[bool]
    train: SplitMetrics | None
    validation: SplitMetrics | None
    best: NotRequired[Best]
    models: dict[str, ModelMetrics]
    threshold: NotRequired[Number | None]
    cost: NotRequired[Cost]
    target: NotRequired[Target | None]
    on_grid: NotRequired[OnGrid | None]
    """Results from before there was a grid have no such key."""
    seconds: Seconds
    diverged: NotRequired[bool]
    constant_answer_loss: NotRequired[Number | None]
    divergences: NotRequired[list[DivergenceEntry]]
    batch_size: NotRequired[Annotated[int, Field(ge=1, le=2**31)]]
    """In force: no more than there are training images."""
    micro_batches: NotRequired[Annotated[int, Field(ge=1, le=2**31)]]
    damaged_checkpoints: NotRequired[list[str]]
    checkpoint_sha256: NotRequired[str | None]
    """Of the last checkpoint as it was written."""
    weights_sha256: NotRequired[Sha256]
    """Of the last checkpoint without the optimizer's state, which was freed."""
    weights_freed: NotRequired[list[Literal["best", "last", "snapshots", "swa"]]]
    """Weights that were removed, as the study's ``keep:`` says."""
    snapshots_freed: NotRequired[bool]
    """What ``clr-hpc clean`` wrote before there was ``weights_freed``."""
    ended: NotRequired[Time]
    files: NotRequired[dict[Annotated[str, Field(pattern=r"^\w[\w.-]*$")], FileState]]
    """By name. Results from before there was this key are taken at their word."""


@record
class FailedResult(TypedDict):
    """A run that raised, and can be tried again."""

    status: Literal["failed"]
    reason: str
    traceback: NotRequired[str]
    seconds: NotRequired[Seconds]
    ended: NotRequired[Time]


Result = DoneResult | FailedResult


def _is_complete(result: Result) -> Result:
    if result["status"] == "failed" or not (result["models"] or result["train"] or result["validation"]):
        return result
    missing = {"best", "cost", "target", "train", "validation"} - {
        name for name, value in result.items() if value is not None or name == "target"
    }
    if missing or "last" not in result["models"]:
        raise ValueError(f"it has models and lacks {', '.join(sorted(missing)) or 'the last one'}")
    return result


_RESULT: TypeAdapter[Result] = TypeAdapter(
    Annotated[Annotated[Result, Field(discriminator="status")], AfterValidator(_is_complete)]
)


def read_result(folder: Path) -> Result | Damaged | None:
    """Return the result in a run's folder, without reading the files that it names; None before the run's end."""
    return read_record(folder / layout.RESULT, _RESULT, REMEDY)


def check_result(folder: Path, verify: bool = True) -> Result | Damaged | None:
    """Return the result in a run's folder, if its files are those that it names.

    Args:
        folder: of the run.
        verify: compare checksums, which reads metrics and predictions; else their sizes alone, which is quick.
    """
    result = read_result(folder)
    if result is None or isinstance(result, Damaged) or result["status"] == "failed":
        return result
    return _disagreement(folder, result, verify) or result


def _disagreement(folder: Path, result: DoneResult, verify: bool) -> Damaged | None:
    for name, state in result.get("files", {}).items():
        file = folder / name
        try:
            size = file.stat().st_size
            if size != state["bytes"]:
                return Damaged(file, f"it has {size:,} bytes, and {layout.RESULT} says {state['bytes']:,}", REMEDY)
            if verify and name in VERIFIED and (found := sha256_of(file)) != state["sha256"]:
                return Damaged(file, f"its SHA-256 is {found}, and {layout.RESULT} says {state['sha256']}", REMEDY)
        except FileNotFoundError:
            if name not in WEIGHTS:
                return Damaged(file, f"it is missing, and {layout.RESULT} names it", REMEDY)
        except OSError as error:
            return Damaged(file, f"it can't be read: {mistake_of(error).rule}", REMEDY)
    return None


def states_of_files(folder: Path) -> dict[str, FileState]:
    """Return the state of each file that a done run's result names."""
    files = [folder / name for name in (*VERIFIED, *WEIGHTS) if (folder / name).exists()]
    return {file.name: state_of(file) for file in files}


def state_of(file: Path) -> FileState:
    """Return size and checksum of a file.

    Raises:
        OSError: it can't be read.
    """
    return {"bytes": file.stat().st_size, "sha256": sha256_of(file)}


def is_done(result: Result | Damaged | None) -> bool:
    """Say whether a run's result is that of a finished training."""
    return result is not None and not isinstance(result, Damaged) and result["status"] == "done"


def freed_weights(result: DoneResult) -> set[str]:
    """Return which weights of a run were removed to save space: ``last``, ``best``, ``swa``, ``snapshots``."""
    earlier = {"snapshots"} if result.get("snapshots_freed") else set()
    return earlier.union(result.get("weights_freed", ()))


def would_fail_again(result: Mapping[str, Any]) -> bool:
    """Return whether a run failed for its own spec, so that only another study changes that.

    What machines, disks and memory cause may be gone at the next try.
    """
    return _OF_THE_SPEC.match(str(result.get("reason"))) is not None


def failure(error: BaseException, seconds: float) -> dict[str, Any]:
    """Return the result of a run that raised."""
    return failed(f"{type(error).__name__}: {error}", "".join(format_exception(error)), seconds)


def failed(reason: str, trace: str, seconds: float) -> dict[str, Any]:
    """Return the result of a run that failed for a reason."""
    return {
        "status": "failed",
        "reason": reason,
        "traceback": trace,
        "seconds": round(seconds, 3),
        "ended": now(),
    }


def now() -> str:
    """Return the time, as results hold it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
