"""``predictions.parquet`` of a run: what each of its models says of each image."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from clr_hpc.store import layout
from clr_hpc.store.records import LONGEST_REASON, Damaged, read_bytes
from clr_hpc.store.results import REMEDY, FileState

if TYPE_CHECKING:
    import pyarrow as pa

SPLITS = ("train", "validation", "test")
FLOORS = {"brightness": "floor_brightness", "statistics": "floor_statistics"}
"""Columns with the scores of rules that a one-class model must beat."""
TEXTS, FACTS = ("image", "patient", "split", "model"), ("view", "sex")


def read_predictions(folder: Path, state: FileState | None) -> "pa.Table | Damaged | None":
    """Return a row for each model and image; None where the run has left no predictions.

    Columns: ``image``, ``patient``, ``split``, ``model`` (string), ``label`` (int8, 0 or 1), ``score`` (float32,
    finite), and what may be null: ``view``, ``sex`` (string), ``age_years`` (double), and of one-class models
    ``findings`` (string) and the columns of ``FLOORS`` (float32). In each split every model has each image once.

    Args:
        folder: of the run.
        state: what the run's result says of the file; None: nothing, as those of earlier versions.
    """
    file = folder / layout.PREDICTIONS
    data = read_bytes(file, REMEDY)
    if data is None or isinstance(data, Damaged):
        return data
    if state is not None and (found := hashlib.sha256(data).hexdigest()) != state["sha256"]:
        return Damaged(file, f"its SHA-256 is {found}, and {layout.RESULT} says {state['sha256']}", REMEDY)
    try:
        table = _table(data)
        _check(table)
    except Exception as error:  # of whatever kind: they are pyarrow's, on bytes that nothing vouches for
        return Damaged(file, " ".join(f"it can't be read: {error}".split())[:LONGEST_REASON], REMEDY)
    return table


def _table(data: bytes) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.parquet as pq

    text = [(name, pa.string()) for name in (*TEXTS, *FACTS)]
    schema = pa.schema([*text, ("age_years", pa.float64()), ("label", pa.int8()), ("score", pa.float32())])
    table = pq.read_table(pa.BufferReader(data))
    missing = [name for name in schema.names if name not in table.column_names]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")
    later = pa.schema([("findings", pa.string()), *((column, pa.float32()) for column in FLOORS.values())])
    for each in later:
        if each.name not in table.column_names:
            table = table.append_column(each, pa.nulls(table.num_rows, each.type))
        schema = schema.append(each)
    table = table.select(schema.names).cast(schema)
    table.validate(full=True)
    return table


def _check(table: "pa.Table") -> None:
    import pyarrow.compute as pc

    empty = [name for name in (*TEXTS, "label") if table[name].null_count]
    if empty:
        raise ValueError(f"column {empty[0]} has rows without a value")
    bad = table.num_rows - (pc.sum(pc.is_finite(table["score"])).as_py() or 0)
    if bad:
        raise ValueError(f"{bad} scores are no numbers")
    if not set(pc.unique(table["label"]).to_pylist()) <= {0, 1}:
        raise ValueError("a label is neither 0 nor 1")
    if not set(pc.unique(table["split"]).to_pylist()) <= set(SPLITS):
        raise ValueError(f"a split is none of {', '.join(SPLITS)}")
    if not _has_each_image_once(table):
        raise ValueError("it does not hold each image of a split once for each of the run's models")


def _has_each_image_once(table: "pa.Table") -> bool:
    """Return whether in each split every model has each image once, in whatever order."""
    import pyarrow.compute as pc

    models = pc.unique(table["model"]).to_pylist()
    for split in pc.unique(table["split"]).to_pylist():
        rows = table.filter(pc.equal(table["split"], split)).select(["model", "image"])
        first, *others = (rows.filter(pc.equal(rows["model"], model))["image"] for model in models)
        if pc.count_distinct(first).as_py() != len(first):
            return False
        for images in others:
            if not images.equals(first) and not images.sort().equals(first.sort()):
                return False
    return True
