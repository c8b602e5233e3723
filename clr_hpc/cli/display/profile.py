"""Profiles of runs in the terminal (``clr-hpc run --profile``): time by part, and distance from limits."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from clr_hpc.store.records import Damaged
from clr_hpc.store.run_files import Profile, read_profile

MOST_RUNS = 10
"""With more, there is one row per architecture."""
COLUMNS = {
    "start-up": "start",
    "gather": "wait\nfor\ndata",
    "prepare": "pre-\npare",
    "forward": "for-\nward",
    "backward": "back-\nward",
    "optimizer": "opti-\nmizer",
    "evaluation": "eval-\nuate",
    "checkpoints": "check-\npoint",
    "logging": "log",
    "rest": "rest",
}


def show_profiles(console: Console, run_folders: Sequence[Path]) -> None:
    """Print one row per run that left a profile, or medians per architecture."""
    profiles = {folder: read_profile(folder) for folder in run_folders}
    for damaged in (each for each in profiles.values() if isinstance(each, Damaged)):
        console.print(str(damaged), soft_wrap=True)
    found = {
        folder: profile
        for folder, profile in profiles.items()
        if profile is not None and not isinstance(profile, Damaged)
    }
    if not found:
        console.print(
            "no profile: no run was trained; to profile finished runs, train them again with another --results",
            soft_wrap=True,
        )
        return
    console.print(profile_table(list(found.values())))
    console.print(
        "Shares of a run's wall time in %; images/s of the steps alone. Of bare: time of the same step on loaded "
        "tensors / time of the actual step, in %. Of roof: least time that the device's arithmetic or memory "
        "allows / time of the actual step, in %.",
        soft_wrap=True,
    )
    for folder, profile in found.items():
        if profile["missing"] is not None:
            console.print(f"missing of {folder.name}: {profile['missing']}", soft_wrap=True)
    traces = [folder / profile["trace"] for folder, profile in found.items() if profile["trace"]]
    if traces:
        console.print(
            f"traces of a few steps: {_shown(traces)}; open one in chrome://tracing or https://ui.perfetto.dev",
            soft_wrap=True,
        )


def profile_table(profiles: Sequence[Profile]) -> Table:
    """Return profiles as a table, by run or, if they are many, by architecture."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    table.add_column("run", overflow="fold")
    for header in ("images/\ns", *COLUMNS.values(), "of\nbare", "of\nroof"):
        table.add_column(header, justify="right")
    if len(profiles) <= MOST_RUNS:
        rows = [(f"{each['task']} {each['architecture']}", [each]) for each in profiles]
    else:
        names = sorted({each["architecture"] for each in profiles})
        groups = {name: [each for each in profiles if each["architecture"] == name] for name in names}
        rows = [(f"{name}, median of {len(group)}", group) for name, group in groups.items()]
    for name, group in rows:
        table.add_row(
            name,
            _median((each["images_per_second"] for each in group), 1),
            *(_median((each["parts"][part]["share"] for each in group), 100, ".1f") for part in COLUMNS),
            *(_median((_limit(each, key) for each in group), 100) for key in ("of_bare", "of_roofline")),
        )
    return table


def _limit(profile: Profile, key: str) -> float | None:
    limits: Mapping[str, Any] = profile["limits"] or {}
    return limits.get(key)


def _median(values: Iterable[float | None], factor: float, form: str = ".0f") -> str:
    known = [value for value in values if value is not None]
    return format(median(known) * factor, form) if known else "–"


def _shown(traces: Sequence[Path]) -> str:
    """Name the trace, or where in each run's folder they are."""
    if len(traces) == 1:
        return str(traces[0])
    runs_folder, inside = traces[0].parents[2], traces[0].relative_to(traces[0].parents[1])
    return f"{runs_folder}/*/{inside}"
