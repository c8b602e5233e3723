"""``outcome.json`` of a search: its trials so far, the best settings, their importance, and the cost."""

from pathlib import Path
from typing import Annotated, Literal, NotRequired, final

from pydantic import AfterValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json
from clr_hpc.store.records import Count, Damaged, Number, Seconds, read_record, record

Values = dict[str, Number]
"""Settings by name."""


@final
@record
class ChoiceRecord(TypedDict):
    """A setting of which these values were tried."""

    values: Annotated[list[Number], Field(min_length=1)]


@final
@record
class IntervalRecord(TypedDict):
    """A setting that was tried between two values."""

    low: Number
    high: Number
    scale: Literal["linear", "log"]


@record
class TrialRecord(TypedDict):
    """Settings that were tried."""

    trial: Count
    values: Values
    status: Literal["done", "stopped early", "under way", "failed"]
    epochs: Count
    value: Number | None
    """Of the objective, as last measured; the mean over seeds."""
    reason: str | None
    """Why it failed."""
    ask_seconds: Seconds


@record
class Measurement(TypedDict):
    """A value that was measured, in the order of measuring."""

    trial: Count
    epochs: Count
    value: Number
    epochs_spent: Count
    """By all trials until then."""
    is_whole: bool
    """Whether the trial was trained to its end."""


@record
class BestTrial(TypedDict):
    """The best of the trials that were trained to the end."""

    trial: Count
    values: Values
    value: Number
    by_seed: dict[str, Number]
    interval: tuple[Number, Number] | None
    """95 % of the mean over seeds; None for one seed."""


@record
class Importance(TypedDict):
    """What of a random forest of the trials each setting explains."""

    settings: dict[str, Number]
    explained: Number
    trials: Count
    epochs: Number


@record
class SearchCost(TypedDict):
    """What the search took."""

    epochs_trained: Number
    epochs_without_early_stopping: Number
    processor_hours: Number
    ask_seconds: Seconds


@record
class Outcome(TypedDict):
    """A search, also one that has not ended."""

    format_version: NotRequired[Literal[1]]
    study: str
    search: str
    objective: Literal["auroc", "loss"]
    stage: str
    task: str
    architecture: str
    optimizer: str
    policy: str
    epochs: Count
    seeds: list[Count]
    rungs: list[Count]
    dimensions: Annotated[dict[str, ChoiceRecord | IntervalRecord], Field(min_length=1)]
    trials: list[TrialRecord]
    history: list[Measurement]
    best: BestTrial | None
    importance: Importance | None
    cost: SearchCost
    processor: str


def _is_of_its_space(outcome: Outcome) -> Outcome:
    for name, dimension in outcome["dimensions"].items():
        tried = [trial["values"].get(name) for trial in outcome["trials"]]
        if "values" in dimension:
            fits = all(value in dimension["values"] for value in tried)
        else:
            least = 0.0 if dimension["scale"] == "log" else float("-inf")
            positive = all(value is not None and value > least for value in (dimension["low"], *tried))
            fits = positive and dimension["low"] < dimension["high"]
        if not fits:
            raise ValueError(f"{name}: trials have values that were not searched")
    chosen = [outcome["best"]["values"]] if outcome["best"] else []
    chosen += [outcome["importance"]["settings"]] if outcome["importance"] else []
    if any(names.keys() != outcome["dimensions"].keys() for names in chosen):
        raise ValueError("best and importance are not of the settings that were searched")
    return outcome


_OUTCOME: TypeAdapter[Outcome] = TypeAdapter(Annotated[Outcome, AfterValidator(_is_of_its_space)])


def read_outcome(folder: Path) -> Outcome | Damaged | None:
    """Return what a search has come to; None before its first trial."""
    return read_record(folder / layout.OUTCOME, _OUTCOME, "the same 'clr-hpc tune' writes it anew")


def write_outcome(folder: Path, outcome: Outcome) -> None:
    """Write what a search has come to, atomically."""
    write_json(folder / layout.OUTCOME, outcome)
