"""A run as trackers show it, read from its folder alone, also while it is written."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

from clr_hpc.config.run import RunSpec
from clr_hpc.monitoring.status import RunStatus, State
from clr_hpc.store.events import EPOCH_TAGS, STEP_TAGS, hyperparameters, measured_on
from clr_hpc.store.metrics import Line, read_metrics
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import Result, read_result
from clr_hpc.store.run_files import read_environments

ENDED = (State.DONE, State.FAILED)
COSTS = ("steps", "cpu_hours", "gpu_hours")


@dataclass(frozen=True)
class Point:
    """What was recorded after so many samples."""

    samples: int
    seconds: float
    """Since the run began, over all its starts."""
    values: Mapping[str, float]
    """By the tags that TensorBoard shows."""


@dataclass(frozen=True)
class TrackedRun:
    """A run, with what a tracker lacks of it."""

    key: str
    """The same whenever this training of the run is read; another one after the run was trained anew."""
    name: str
    """For people, and different from that of every other run of the study."""
    state: State
    reason: str | None
    """Why it failed."""
    params: Mapping[str, str | float]
    started: float
    """Seconds since 1970; 0 where it isn't known."""
    seconds: float
    """That it took until now."""
    points: tuple[Point, ...]
    """After the mark, in order."""
    samples: int
    """The mark that these points lead to."""
    final: Mapping[str, float]
    """Metrics of a run that is done."""

    @property
    def has_ended(self) -> bool:
        """Whether it is done or failed."""
        return self.state in ENDED


def key_of(spec: RunSpec, folder: Path) -> str:
    """Return the key of the training that a run's folder holds."""
    return f"{spec.name}@{_began(folder) or 'unknown'}"


def read_tracked(status: RunStatus, folder: Path, after: int) -> TrackedRun:
    """Return a run that was begun.

    Args:
        status: of the run, read before.
        folder: of the run.
        after: samples; what was recorded up to there is left out. -1: nothing is.
    """
    spec, began = status.spec, _began(folder)
    found = read_result(folder)
    result = None if found is None or isinstance(found, Damaged) else found
    has_ended = status.state in ENDED
    lines = read_metrics(folder)
    points = list(_points(lines, is_complete=has_ended))
    if has_ended and not points:
        points = list(_fitted(result))
    seconds = max([status.seconds or 0.0, *(point.seconds for point in points)])
    return TrackedRun(
        key=key_of(spec, folder),
        # what tells most runs apart comes first, since trackers cut long names
        name=f"{spec.task.name} {spec.stage} {spec.policy.name} seed {spec.seed} {spec.optimizer.name} "
        f"{spec.architecture} {spec.run_id[:6]}",
        state=status.state,
        reason=status.reason if status.state == State.FAILED else None,
        params=hyperparameters(spec) | {"run": spec.name},
        started=datetime.fromisoformat(began).timestamp() if began else 0.0,
        seconds=seconds,
        points=tuple(point for point in points if point.samples > after),
        samples=max([after, *(point.samples for point in points)]),
        final=_final(result, lines) if status.state == State.DONE else {},
    )


def _began(folder: Path) -> str | None:
    starts = read_environments(folder)
    return None if starts is None or isinstance(starts, Damaged) else starts[0].get("started")


def _points(lines: Iterable[Line], is_complete: bool) -> Iterator[Point]:
    """Yield the values of each number of samples; the last, to which more may come, only of a complete run."""
    groups = [(samples, list(group)) for samples, group in groupby(lines, key=lambda line: int(line["samples"]))]
    for samples, group in groups if is_complete else groups[:-1]:
        values: dict[str, float] = {"epoch": group[-1]["progress"]}
        for line in group:
            values |= _values(line)
        yield Point(samples, group[-1]["elapsed_seconds"], values)


def _values(line: Mapping[str, Any]) -> dict[str, float]:
    match line["kind"]:
        case "step":
            found = {f"training/{tag}": line.get(tag) for tag in STEP_TAGS}
        case "epoch":
            found = {f"{tag}/{measured_on(line['split'], line)}": line[tag] for tag in EPOCH_TAGS}
        case _:
            found = {"loss/validation_sample": line["loss"]}
    return {tag: float(value) for tag, value in found.items() if value is not None}


def _fitted(result: Result | None) -> Iterator[Point]:
    """Yield the metrics of a method that is fitted, which has no steps."""
    if result is not None and result["status"] == "done" and result["samples"] == 0:
        values: dict[str, float] = {"epoch": 0.0}
        for split in ("train", "validation"):
            values |= _values({"kind": "epoch", "split": split, **(result[split] or dict.fromkeys(EPOCH_TAGS))})
        yield Point(0, result["seconds"], values)


def _final(result: Result | None, lines: Iterable[Line]) -> dict[str, float]:
    """Return test metrics, those of ``last`` under the name that TensorBoard has, and cost.

    Of a run that was measured on a sample of the training split also the metrics on all of it.
    """
    if result is None or result["status"] != "done":
        return {}
    found: dict[str, float | None] = {"final/seconds": result["seconds"]}
    cost: Mapping[str, Any] = result.get("cost", {})
    found |= {f"final/{name}": cost.get(name) for name in COSTS}
    for model, splits in result["models"].items():
        prefix = "final/test" if model == "last" else f"final/{model}/test"
        test: Mapping[str, Any] = splits["test"]
        found |= {f"{prefix}_{tag}": test[tag] for tag in EPOCH_TAGS}
    train: Mapping[str, Any] | None = result["train"]
    if train and any("of_images" in line for line in lines):
        found |= {f"{tag}/train": train[tag] for tag in EPOCH_TAGS}
    return {name: float(value) for name, value in found.items() if value is not None}
