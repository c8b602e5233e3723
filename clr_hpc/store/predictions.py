"""``predictions.parquet`` of a run: what each of its models says of each image."""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from clr_hpc.store import layout
from clr_hpc.store.records import LONGEST_REASON, Damaged, read_bytes
from clr_hpc.store.results import REMEDY, FileState

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    from numpy.typing import NDArray

SPLITS = ("train", "validation", "test")
FLOORS = {"brightness": "floor_brightness", "statistics": "floor_statistics"}
"""Columns with the scores of rules that a one-class model must beat."""
TEXTS, FACTS, FINDINGS = ("image", "patient", "split", "model"), ("view", "sex"), "findings"


def read_predictions(folder: Path, state: FileState | None) -> "pa.Table | Damaged | None":
    """Return a row for each model and image; None where the run has left no predictions.

    Columns: ``image``, ``patient``, ``split``, ``model`` (text), ``label`` (int8, 0 or 1), ``score`` (float32,
    finite), and what may be null: ``view``, ``sex`` (text), ``age_years`` (double), and of one-class models
    ``findings`` (text) and the columns of ``FLOORS`` (float32). In each split every model has each image once.
    Text is dictionary-encoded: each different value once, and each row's position among them.

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
        table = _table(data, is_vouched_for=state is not None)
        _check(table)
    except Exception as error:  # of whatever kind: they are pyarrow's, on bytes that nothing vouches for
        return Damaged(file, " ".join(f"it can't be read: {error}".split())[:LONGEST_REASON], REMEDY)
    return table


def codes(column: "pa.ChunkedArray") -> "tuple[NDArray[np.int32], pa.Array]":
    """Return each row's position among the different values, and these, of a column of text without nulls."""
    whole = column.combine_chunks()
    return whole.indices.to_numpy(), whole.dictionary


def to_frame(table: "pa.Table") -> "pd.DataFrame":
    """Return the rows for pandas, with text as text."""
    import pyarrow as pa

    plain = [
        pa.field(each.name, each.type.value_type) if pa.types.is_dictionary(each.type) else each
        for each in table.schema
    ]
    frame: pd.DataFrame = table.cast(pa.schema(plain)).to_pandas()
    return frame


def _table(data: bytes, is_vouched_for: bool) -> "pa.Table":
    """Parse a file.

    Args:
        data: its bytes.
        is_vouched_for: by a checksum. Else text is read plainly, which takes half as long again: where pyarrow
            keeps a file's dictionary, damage to a name may change others.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    texts, later = (*TEXTS, *FACTS, FINDINGS), (FINDINGS, *FLOORS.values())
    numbers = {"age_years": pa.float64(), "label": pa.int8(), "score": pa.float32()}
    numbers |= dict.fromkeys(FLOORS.values(), pa.float32())
    found = pq.read_table(pa.BufferReader(data), read_dictionary=texts if is_vouched_for else [])
    found.validate(full=True)
    for name in later:
        if name not in found.column_names:
            found = found.append_column(name, pa.nulls(found.num_rows))
    missing = [name for name in (*texts, *numbers) if name not in found.column_names]
    if missing:
        raise ValueError(f"column {missing[0]} is missing")
    columns = {name: _encoded(found[name]) for name in texts}
    return pa.table(columns | {name: found[name].cast(kind) for name, kind in numbers.items()})


def _encoded(column: "pa.ChunkedArray") -> "pa.Array":
    import pyarrow as pa

    if column.type != pa.dictionary(pa.int32(), pa.string()):
        column = column.cast(pa.string()).dictionary_encode()
    return column.combine_chunks()


def _check(table: "pa.Table") -> None:
    import numpy as np
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
    split, model, image = (codes(table[name])[0] for name in ("split", "model", "image"))
    models = np.flatnonzero(np.bincount(model))
    for number in np.flatnonzero(np.bincount(split)):
        first, *others = (image[(split == number) & (model == each)] for each in models)
        if np.bincount(first, minlength=1).max() > 1 or not all(
            _have_the_same(first, images) for images in others
        ):
            raise ValueError("it does not hold each image of a split once for each of the run's models")


def _have_the_same(first: "NDArray[np.int32]", other: "NDArray[np.int32]") -> bool:
    """Return whether two models have the same images, in whatever order."""
    import numpy as np

    return np.array_equal(first, other) or np.array_equal(np.sort(first), np.sort(other))
