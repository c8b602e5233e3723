"""How well heat maps find boxes, as a table for people and one for programs."""

from collections.abc import Iterator, Sequence

from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.localisation import FoundBoxes
from clr_hpc.reporting.tables.table import Cell, Column, Table, tabulate
from clr_hpc.reporting.wording import number, whole
from clr_hpc.store.csv_text import csv_text
from clr_hpc.store.explanations import ExplanationsRecord

TITLES = {"pointing": "Pointing game", "inside": "Heat inside", "overlap": "Overlap"}


def localisation_table(found: Sequence[FoundBoxes]) -> Table:
    """Return one row per finding."""
    columns = [
        Column("Finding", "finding"),
        Column("Images", _images, whole, "With boxes of the finding"),
        *(column for kind in TITLES for column in _columns(kind)),
        Column("Middle of the image", "centre", number, "Pointing game of who always points there"),
        Column("Rank correlation", "rank_correlation", number, "Of maps with trained and with random weights"),
        Column("Without heat", "without_heat", whole, "Images in whose map nothing speaks for the finding"),
        Column("Pointing game, result", "pointing.result"),
    ]
    return tabulate("heat-maps", "Heat maps against boxes (95 % CI over patients)", columns, found)


def _columns(kind: str) -> Iterator[Column]:
    title = TITLES[kind]
    yield Column(f"{title} (95 % CI)", f"{kind}.value", number, interval=f"{kind}.interval")
    yield Column("by chance", f"{kind}.chance", number, f"{title} by chance")
    yield Column("random weights", f"{kind}.random", number, f"{title} of networks with random weights")


def _images(row: FoundBoxes) -> Cell:
    return Cell(whole(row.images), row.images, f"Of {row.patients:,} patients")


def localisation_csv(record: ExplanationsRecord, found: Sequence[FoundBoxes]) -> str:
    """Return one row per finding and figure, in full precision."""
    return csv_text(
        {
            "finding": row.record["finding"],
            "figure": kind,
            "runs": " ".join(row.record["runs"]),
            "model": row.record["model"],
            "split": record["split"],
            "images": row.images,
            "patients": row.patients,
            "without_heat": row.without_heat,
            "value": located.value,
            **_ends("value", located.interval),
            "chance": located.chance,
            "over_chance": located.over_chance.value,
            **_ends("over_chance", located.over_chance.patient_interval),
            "random": located.random,
            "over_random": located.over_random.value,
            **_ends("over_random", located.over_random.patient_interval),
            "centre": row.centre if kind == "pointing" else None,
            "rank_correlation": row.rank_correlation,
            "result": located.result,
        }
        for row in found
        for kind, located in (("pointing", row.pointing), ("inside", row.inside), ("overlap", row.overlap))
    )


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {f"{name}_low": interval.low if interval else None, f"{name}_high": interval.high if interval else None}
