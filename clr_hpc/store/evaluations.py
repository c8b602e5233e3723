"""``evaluations/<name>/`` of a study: what its models say of another pack, and of their own test images.

``evaluation.json`` says which models these are and which images were left out; ``scores.parquet`` has a row for
each of them and each image whose label is known.
"""

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write, write_json
from clr_hpc.store.records import (
    LONGEST_REASON,
    Count,
    Damaged,
    Number,
    Sha256,
    Time,
    read_bytes,
    read_record,
    record,
)
from clr_hpc.store.results import FileState, now, state_of

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

SIDES = ("internal", "external")
"""The study's own test images, and those of the other pack."""
KEY, FACTS = ("side", "setting", "image"), ("view", "sex")
REMEDY = "the same 'clr-hpc evaluate' writes it anew"


@record
class EvaluatedPack(TypedDict):
    """The other pack."""

    name: str
    """Of its folder."""
    checksum: Sha256
    split: Literal["train", "validation", "test"] | None
    """Which of its images were taken; None: all."""
    images: Count
    """So many."""
    patients: Count


@record
class OverlapRecord(TypedDict):
    """Images of the other pack that the study's own pack has too, told by the SHA-256 of their files."""

    seen_images: list[str]
    """Their names: the study trained or validated on them, or on others of their patients."""
    seen_patients: list[str]
    """Whose they are in the other pack. All their images are left out."""
    left_out: Count
    """Images of these patients."""
    tested: list[str]
    """Names of those that are only in the study's own test split; they stay."""


@record
class EvaluatedSetting(TypedDict):
    """The models of one setting over its seeds."""

    spec: RunSpec
    """Of the first seed."""
    model: str
    """``last``, ``snapshots`` or ``swa``."""
    seeds: list[Count]
    is_best: bool
    """Whether it is the best of its finding on validation."""
    validation_auroc: Number | None
    threshold: Number | None
    calibration: Literal["logistic", "isotonic"] | None
    """How its scores become probabilities; None where they don't."""
    unlabelled: Count
    """Images of the other pack that were not scored, since it isn't known whether they show the finding."""
    gap: str | None
    """Why no image of the other pack was scored."""


@record
class Evaluated(TypedDict):
    """What was evaluated on what."""

    study: str
    own_pack: Sha256
    pack: EvaluatedPack
    device: str
    overlap: OverlapRecord
    settings: list[EvaluatedSetting]


@record
class Evaluation(Evaluated):
    """``evaluation.json``."""

    format_version: Literal[1]
    made: Time
    files: dict[str, FileState]


_EVALUATION: TypeAdapter[Evaluation] = TypeAdapter(Evaluation)


def write_evaluation(folder: Path, evaluated: Evaluated, scores: "pd.DataFrame") -> None:
    """Write both files, each completely or not at all.

    Args:
        folder: of the evaluation; made if it isn't there.
        evaluated: what the scores are of.
        scores: the columns that ``read_scores`` returns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    folder.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pandas(scores, _schema(), preserve_index=False)
    with atomic_write(folder / layout.SCORES) as temporary:
        pq.write_table(table, temporary)
    whole = Evaluation(
        format_version=1,
        **evaluated,
        made=now(),
        files={layout.SCORES: state_of(folder / layout.SCORES)},
    )
    write_json(folder / layout.EVALUATION, _EVALUATION.dump_python(whole, mode="json"))


def read_evaluation(folder: Path) -> Evaluation | Damaged | None:
    """Return what was evaluated; None where there is no evaluation."""
    return read_record(folder / layout.EVALUATION, _EVALUATION, REMEDY)


def read_scores(folder: Path, evaluation: Evaluation) -> "pa.Table | Damaged":
    """Return a row for each setting and image whose label is known, on both sides.

    Columns: ``side`` (``internal`` or ``external``), ``setting`` (position in the evaluation's list), ``image``,
    ``patient``, ``label`` (int8, 0 or 1), ``score`` (double, finite: the mean over the seeds), and what may be
    null: ``calibrated`` (double, the probability), ``view``, ``sex``, ``age_years`` (double).
    """
    file = folder / layout.SCORES
    data = read_bytes(file, REMEDY)
    if data is None:
        return Damaged(file, "it is not there", REMEDY)
    if isinstance(data, Damaged):
        return data
    state = evaluation["files"].get(layout.SCORES)
    found, expected = hashlib.sha256(data).hexdigest(), state["sha256"] if state else "nothing of it"
    if found != expected:
        return Damaged(file, f"its SHA-256 is {found}, and {layout.EVALUATION} says {expected}", REMEDY)
    try:
        return _checked(data, len(evaluation["settings"]))
    except Exception as error:  # of whatever kind: they are pyarrow's
        return Damaged(file, " ".join(f"it can't be read: {error}".split())[:LONGEST_REASON], REMEDY)


def _schema() -> "pa.Schema":
    import pyarrow as pa

    texts = [(name, pa.string()) for name in ("side", "image", "patient", *FACTS)]
    numbers = [(name, pa.float64()) for name in ("age_years", "score", "calibrated")]
    return pa.schema([*texts, ("setting", pa.int32()), ("label", pa.int8()), *numbers])


def _checked(data: bytes, settings: int) -> "pa.Table":
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    schema = _schema()
    table = pq.read_table(pa.BufferReader(data)).select(schema.names).cast(schema)
    table.validate(full=True)
    empty = [name for name in (*KEY, "patient", "label", "score") if table[name].null_count]
    if empty:
        raise ValueError(f"column {empty[0]} has rows without a value")
    if not (pc.all(pc.is_finite(table["score"])).as_py() or table.num_rows == 0):
        raise ValueError("a score is no number")
    for name, allowed in (("label", {0, 1}), ("side", {*SIDES}), ("setting", {*range(settings)})):
        if odd := {*pc.unique(table[name]).to_pylist()} - allowed:
            raise ValueError(f"{name} has {odd.pop()!r}")
    if table.group_by(list(KEY)).aggregate([]).num_rows != table.num_rows:
        raise ValueError("it holds an image twice for one setting")
    return table
