"""The environments in which a study's runs were trained, summarized."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import StudyRecord

MOST_VALUES_SHOWN = 4
"""Of one entry of the runs' environments; start times, for instance, differ in every run."""


def environments(study: StudyRecord) -> list[tuple[str, list[str]]]:
    """Return each entry of the runs' environments with its values and the number of starts of each."""
    seen: dict[str, Counter[str]] = defaultdict(Counter)
    for run in study.runs:
        for start in run.environments:
            for key, value in _flat(start):
                seen[key][value] += 1
    return [(key, _summary(values)) for key, values in seen.items()]


def _summary(values: Counter[str]) -> list[str]:
    if len(values) == 1:
        return list(values)
    if len(values) > MOST_VALUES_SHOWN:
        return [f"{len(values)} values, from {min(values)} to {max(values)}; see each run's environment.json"]
    return [f"{value} ({wording.count(starts, 'start')})" for value, starts in values.most_common()]


def _flat(entry: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield ``("versions torch", "2.15.0")`` for ``{"versions": {"torch": "2.15.0"}}``."""
    for key, value in entry.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key} ")
        else:
            text = "none" if value is None else value if isinstance(value, str) else json.dumps(value)
            yield f"{prefix}{key}".replace("_", " "), text
