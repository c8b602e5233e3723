"""How well heat maps find boxes, as a table for people and one for programs."""

from collections.abc import Sequence
from typing import Any

from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.localisation import FoundBoxes
from clr_hpc.reporting.tables.table import Cell, Column, Table, tabulate
from clr_hpc.reporting.wording import count, number, whole
from clr_hpc.store.csv_text import csv_text
from clr_hpc.store.explanations import ExplanationsRecord

TITLES = {"pointing": "Pointing game", "inside": "Heat inside", "overlap": "Overlap"}


def localisation_table(found: Sequence[FoundBoxes]) -> Table:
    """Return one row per finding and figure."""
    columns = [
        Column("Finding", "row.finding", filtered=True),
        Column("Figure", "title", filtered=True),
        Column("Mean (95 % CI)", "located.value", number, interval="located.interval"),
        Column("By chance", "located.chance", number),
        Column("Rival", "located.random", number, "Networks with random weights, or maps of other images"),
        Column("Rivals are", "located.rival"),
        Column("Middle of the image", "middle", number, "What always pointing there comes to"),
        Column("Result", "located.result"),
        Column("Images", _images, whole, "With boxes of the finding"),
        Column("Without heat", "row.without_heat", whole, "Images in whose map nothing speaks for the finding"),
        Column("Rank correlation", "row.rank_correlation", number, "Of the maps and their rivals"),
    ]
    records = [
        {"row": row, "title": TITLES[kind], "located": located, "middle": _middle(row, kind)}
        for row in found
        for kind, located in row.figures.items()
    ]
    return tabulate("heat-maps", "Heat maps against boxes (intervals over patients)", columns, records)


def _middle(row: FoundBoxes, kind: str) -> float | None:
    return row.centre if kind == "pointing" else None


def _images(record: dict[str, Any]) -> Cell:
    row: FoundBoxes = record["row"]
    return Cell(whole(row.images), row.images, f"Of {count(row.patients, 'patient')}")


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
            "middle": _middle(row, kind),
            "over_middle": located.over_middle.value if located.over_middle else None,
            **_ends("over_middle", located.over_middle.patient_interval if located.over_middle else None),
            "rank_correlation": row.rank_correlation,
            "result": located.result,
        }
        for row in found
        for kind, located in row.figures.items()
    )


def _ends(name: str, interval: Interval | None) -> dict[str, float | None]:
    return {f"{name}_low": interval.low if interval else None, f"{name}_high": interval.high if interval else None}
