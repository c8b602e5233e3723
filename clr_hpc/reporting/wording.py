"""How the report writes names and numbers: one place, so that a table and a figure never differ."""

import math
from collections import defaultdict
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from clr_hpc.reporting.statistics import Interval
from clr_hpc.spec.run import RunSpec

ARCHITECTURE_TITLES = {"mobilenet_v1": "MobileNetV1", "alexnet": "AlexNet", "densenet121": "DenseNet-121"}
OPTIMIZER_TITLES = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSProp", "adagrad": "Adagrad"}
POLICY_TITLES = {
    "constant": "Constant",
    "step": "Step decay",
    "exponential": "Exponential decay",
    "inverse_time": "Inverse-time decay",
    "cosine": "Cosine decay",
    "triangular": "Triangular",
    "triangular2": "Triangular2",
    "triangular2_modified": "Modified triangular2",
    "exp_range": "Exp-range",
    "one_cycle": "One-cycle",
}


def optimizer_labels(specs: Iterable[RunSpec]) -> dict[str, str]:
    """Return a label for each optimizer of ``specs``, by its JSON; see ``_labels``."""
    optimizers = [spec.optimizer for spec in specs]
    return _labels((optimizer.model_dump(), "", optimizer.model_dump_json()) for optimizer in optimizers)


def policy_labels(specs: Iterable[RunSpec]) -> dict[str, str]:
    """Return a label for each policy of ``specs``, by its JSON; see ``_labels``.

    Rates usually follow the optimizer; that alone doesn't make two policies of one.
    """
    return _labels(
        (spec.policy.model_dump(), spec.optimizer.model_dump_json(), spec.policy.model_dump_json())
        for spec in specs
    )


def _labels(entries: Iterable[tuple[dict[str, Any], str, str]]) -> dict[str, str]:
    """Label settings by name, and by what sets them apart where several of a name stand in one context.

    Args:
        entries: of each setting its fields (``name`` among them), the context and the key to label.
    """
    values: dict[tuple[str, str, str], set[Any]] = defaultdict(set)
    settings: dict[str, dict[str, Any]] = {}
    for fields, context, key in entries:
        settings[key] = fields
        for field, value in fields.items():
            values[fields["name"], context, field].add(value)
    apart = {(name, field) for (name, _, field), seen in values.items() if len(seen) > 1}
    labels = {}
    for key, fields in settings.items():
        name = fields["name"]
        differing = [f"{field} {value}" for field, value in fields.items() if (name, field) in apart]
        title = POLICY_TITLES.get(name) or OPTIMIZER_TITLES[name]
        labels[key] = f"{title} ({', '.join(differing)})" if differing else title
    return labels


def number(value: float | None, digits: int = 3) -> str:
    """Write ``0.741``; a value that isn't defined is an en dash."""
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}".replace("-", "−")


def between(interval: Interval | None) -> str:
    """Write ``0.712 to 0.769``; an interval that isn't defined is an en dash."""
    return "–" if interval is None else f"{number(interval.low)} to {number(interval.high)}"


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
    return f"{things:,} {noun}" if things == 1 else f"{things:,} {noun}s"


def listed(words: list[str]) -> str:
    """Write ``a, b and c``."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else ""
