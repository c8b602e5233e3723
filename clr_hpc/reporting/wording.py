"""How the report writes names and numbers: one place, so that a table and a figure never differ."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

from clr_hpc.config.pathologies import title
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import OneClassTask, PyodDetector
from clr_hpc.reporting.stats.bootstrap import Interval

STAGE_TITLES = {
    "pretrain": "pretraining",
    "baseline": "baseline",
    "control": "control",
    "retrain": "retrained",
    "scratch": "from scratch",
    "fit": "fitted to features",
    "range_test": "range test",
}
MODEL_TITLES = {"last": "Last", "swa": "Averaged weights (SWA)", "snapshots": "Snapshots"}


def task_labels(specs: Iterable[RunSpec]) -> dict[str, str]:
    """Return a label for each task of ``specs``, by its JSON: a pathology, or a class and how it is learned."""
    tasks = {spec.task.model_dump_json(): spec.task for spec in specs}
    methods = _labels(
        (
            f"PyOD {task.method.detector}" if isinstance(task.method, PyodDetector) else task.method.title,
            {"threshold_quantile": task.threshold_quantile, **task.method.model_dump()},
            task.normal,
            key,
        )
        for key, task in tasks.items()
        if isinstance(task, OneClassTask)
    )
    return {
        key: f"{title(task.label)}: {methods[key]}" if key in methods else title(task.name)
        for key, task in tasks.items()
    }


def start_labels(specs: Iterable[RunSpec]) -> dict[str, str]:
    """Return what distinguishes the starts of runs of a kind, by their JSON; empty where all are alike."""
    starts = {spec.start.model_dump_json(): (spec.is_fitted, spec.start) for spec in specs if spec.start}
    policies = policy_labels(start.baseline for _, start in starts.values())
    by_kind: dict[bool, dict[str, dict[str, str]]] = {True: {}, False: {}}
    for key, (fitted, start) in starts.items():
        baseline = policies[start.baseline.policy.model_dump_json()]
        by_kind[fitted][key] = {
            "features of": start.baseline.task.name if fitted else "",
            "baseline": baseline,
            "weights": start.weights,
            "optimizer": start.optimizer,
        }
    labels: dict[str, str] = {}
    for parts_of in by_kind.values():
        names = ("features of", "baseline", "weights", "optimizer")
        apart = [name for name in names if len({parts[name] for parts in parts_of.values()}) > 1]
        labels |= {key: ", ".join(f"{name} {parts[name]}" for name in apart) for key, parts in parts_of.items()}
    return labels


def optimizer_labels(specs: Iterable[RunSpec]) -> dict[str, str]:
    """Return a label for each optimizer of ``specs``, by its JSON; see ``_labels``."""
    optimizers = [spec.optimizer for spec in specs]
    return _labels((each.title, each.model_dump(), "", each.model_dump_json()) for each in optimizers)


def policy_labels(specs: Iterable[RunSpec]) -> dict[str, str]:
    """Return a label for each policy of ``specs``, by its JSON; see ``_labels``.

    Rates usually follow the optimizer, and the length of a wave or a decay its stage; that alone doesn't make two
    policies of one.
    """
    return _labels(
        (
            spec.policy.title,
            spec.policy.model_dump(),
            f"{spec.stage} {spec.optimizer.model_dump_json()}",
            spec.policy.model_dump_json(),
        )
        for spec in specs
    )


def _labels(entries: Iterable[tuple[str, dict[str, Any], str, str]]) -> dict[str, str]:
    """Label settings by name, and by what sets them apart where several of a name stand in one context.

    Args:
        entries: of each setting its title, its fields (``name`` among them), the context and the key to label.
    """
    values: dict[tuple[str, str, str], set[str]] = defaultdict(set)
    settings: dict[str, tuple[str, dict[str, Any]]] = {}
    for named, fields, context, key in entries:
        settings[key] = named, fields
        for field, value in fields.items():
            values[fields["name"], context, field].add(repr(value))  # a mapping has no hash
    apart = {(name, field) for (name, _, field), seen in values.items() if len(seen) > 1}
    labels = {}
    for key, (named, fields) in settings.items():
        name = fields["name"]
        differing = [f"{field} {value}" for field, value in fields.items() if (name, field) in apart]
        labels[key] = f"{named} ({', '.join(differing)})" if differing else named
    return labels


def number(value: float | None, digits: int = 3) -> str:
    """Write ``0.741``; a value that isn't defined is an en dash."""
    if value is None or math.isnan(value):
        return "–"
    # adding zero makes a zero of what rounds to a negative one
    return f"{round(value, digits) + 0.0:.{digits}f}".replace("-", "−")


def ratio(value: float | None) -> str:
    """Write ``1.03``."""
    return number(value, 2)


def whole(value: float | None) -> str:
    """Write ``1,234``; a value that isn't defined is an en dash."""
    return "–" if value is None or math.isnan(value) else f"{value:,.0f}"


def between(interval: Interval | None, write: Callable[[float], str] = number) -> str:
    """Write ``0.712 to 0.769``; an interval that isn't defined says so."""
    return "no interval" if interval is None else f"{write(interval.low)} to {write(interval.high)}"


def bounded(value: float, interval: Interval | None, write: Callable[[float], str] = number) -> str:
    """Write ``0.741 (0.712 to 0.769)``; of a signed number, the value alone carries a plus."""
    return f"{write(value)} ({between(interval, number if write is signed else write)})"


def span(low: float, high: float, form: str = "g") -> str:
    """Write ``3 to 5``, or ``3`` where both are the same."""
    return f"{low:{form}}" if low == high else f"{low:{form}} to {high:{form}}"


def signed(value: float | None, digits: int = 3) -> str:
    """Write ``+0.012`` or ``−0.012``."""
    plus = "+" if value is not None and round(value, digits) > 0 else ""
    return plus + number(value, digits)


def steps_apart(value: float | None) -> str:
    """Write ``+12`` or ``−1,200``."""
    plus = "+" if value is not None and round(value) > 0 else ""
    return plus + ("–" if value is None or math.isnan(value) else f"{round(value):,}".replace("-", "−"))


def p_value(value: float | None) -> str:
    """Write ``0.034``, or ``< 0.001``."""
    return "< 0.001" if value is not None and value < 0.001 else number(value)


def duration(seconds: float | None) -> str:
    """Write ``42 s``, ``3:05 min`` or ``2:03:05 h``."""
    if seconds is None or math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = str(timedelta(seconds=round(seconds)))
    return f"{whole} h" if seconds >= 3600 else f"{whole.removeprefix('0:').removeprefix('0')} min"


def count(things: int, noun: str) -> str:
    """Write ``1 run`` or ``3 runs``."""
    if things == 1:
        return f"{things:,} {noun}"
    return f"{things:,} {noun.removesuffix('y')}ies" if noun.endswith("y") else f"{things:,} {noun}s"


def listed(words: list[str]) -> str:
    """Write ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
