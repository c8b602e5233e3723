"""A pack's manifest as a study's folder keeps it: what images it has, and which of them a run uses."""

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import AfterValidator, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.config.pathologies import NO_FINDING, in_order
from clr_hpc.config.run import RunSpec, Selection
from clr_hpc.store import layout
from clr_hpc.store.records import Count, Damaged, Sha256, read_record, record


@record
class LabelCount(TypedDict):
    """Images by the value of one label."""

    positive: NotRequired[Count]
    negative: NotRequired[Count]
    unknown: NotRequired[Count]


@record
class ViewCount(TypedDict):
    """What one view of a split holds."""

    images: Count
    labels: dict[str, LabelCount]


@record
class SplitCount(TypedDict):
    """What one split of a pack holds."""

    images: Count
    patients: Count
    labels: NotRequired[dict[str, LabelCount]]
    views: NotRequired[dict[str, ViewCount]]


@record
class PackCounts(TypedDict):
    """What a pack holds."""

    images: Count
    patients: Count
    splits: dict[str, SplitCount]


@record
class PackRecord(TypedDict):
    """A pack's manifest, of which the study keeps a copy; ``checksum`` covers all the rest."""

    checksum: Sha256
    counts: NotRequired[PackCounts]


def _is_unchanged(pack: PackRecord) -> PackRecord:
    rest: dict[str, Any] = {key: value for key, value in pack.items() if key != "checksum"}
    if "counts" not in rest:
        return pack
    found = hashlib.sha256(json.dumps(rest, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    if found != pack["checksum"]:
        raise ValueError(f"it was changed: its checksum is {found}, not {pack['checksum']}")
    return pack


_PACK: TypeAdapter[PackRecord] = TypeAdapter(Annotated[PackRecord, AfterValidator(_is_unchanged)])


def read_pack(folder: Path, name: str = layout.PACK) -> PackRecord | Damaged | None:
    """Return the manifest of a study's pack; None where the study was never started."""
    return read_record(folder / name, _PACK, "copy manifest.json of the pack there")


def labels_of(pack: PackRecord) -> tuple[str, ...]:
    """Return the labels of a pack's images: the 14, the other findings, and ``no_finding`` last."""
    splits = pack.get("counts", {"splits": {}})["splits"].values()
    counted = {name for split in splits for name in split.get("labels", {})}
    return (*in_order(counted - {NO_FINDING}), NO_FINDING)


def label_counts(pack: PackRecord, split: str, select: Selection | None) -> dict[str, LabelCount]:
    """Return the counts of each label among the selected images of a split; empty where none are known."""
    of_split = pack.get("counts", {"splits": {}})["splits"].get(split)
    if of_split is None:
        return {}
    if select is None:
        return of_split.get("labels", {})
    views = of_split.get("views", {})
    sums: dict[str, Counter[str]] = {}
    for view in select.view:
        for label, counts in (views[view]["labels"] if view in views else {}).items():
            sums.setdefault(label, Counter()).update(counts)
    return {
        label: LabelCount(positive=of["positive"], negative=of["negative"], unknown=of["unknown"])
        for label, of in sums.items()
    }


def trainable(pack: PackRecord, select: Selection | None) -> tuple[str, ...]:
    """Return the findings of a pack that a classifier can learn: with images of both kinds to train on."""
    counts = label_counts(pack, "train", select)
    has_both = {name for name, of in counts.items() if of.get("positive") and of.get("negative")}
    return in_order(has_both - {NO_FINDING})


def training_images(pack: PackRecord, spec: RunSpec) -> int | None:
    """Return how many images of a pack a run is trained on; None where the pack's record doesn't say."""
    task = spec.task
    counts = label_counts(pack, "train", spec.training.select).get(task.label)
    if counts is None:
        return None
    if task.kind == "one_class":
        return counts.get("positive", 0)
    unlabelled = counts.get("unknown", 0) if task.kind == "pretraining" else 0
    return counts.get("positive", 0) + counts.get("negative", 0) + unlabelled
