"""What a trial's runs came to, read from their folders."""

import json
from pathlib import Path
from typing import Any

from clr_hpc.store.metrics import read_metrics

ROUNDING = 1e-6
"""Epochs."""


def value_after(folder: Path, epochs: float, objective: str) -> float | None:
    """Return a run's validation metric after so many epochs; None where it hasn't come so far.

    Args:
        folder: of the run.
        epochs: infinity asks for the last one of a run that is done.
        objective: ``auroc`` or ``loss``.

    Raises:
        ValueError: the metric isn't defined there.
    """
    measured = [
        entry
        for entry in read_metrics(folder)
        if entry.get("split") == "validation" and entry["progress"] <= epochs + ROUNDING
    ]
    is_there = bool(measured) and measured[-1]["progress"] >= epochs - ROUNDING
    if not is_there and not (measured and _is_done(folder)):  # its own early stopping may have ended it before
        return None
    value: float | None = measured[-1][objective]
    if value is None:
        raise ValueError(
            f"the validation {objective} is not defined: the split has one class only; "
            "pack with a larger validation split, or take objective: loss"
        )
    return value


def failure_of(folder: Path) -> str | None:
    """Return why a run failed; None where it didn't."""
    result = _result(folder)
    return str(result.get("reason")) if result.get("status") == "failed" else None


def cost_of(folder: Path) -> tuple[float, float]:
    """Return the epochs that a run has been trained, and the seconds that this took; zeros before it began."""
    entries = read_metrics(folder)
    return (entries[-1]["progress"], entries[-1]["elapsed_seconds"]) if entries else (0.0, 0.0)


def _is_done(folder: Path) -> bool:
    return _result(folder).get("status") == "done"


def _result(folder: Path) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    except FileNotFoundError:
        return {}
    return result
