"""Predictions of runs, aligned: what each model of a run says of each image."""

import hashlib
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.store.cache.values import to_bytes
from clr_hpc.store.predictions import FLOORS, codes

if TYPE_CHECKING:
    import pyarrow as pa

ORDERS_KEPT = 4
NAMES, FACTS = ("image", "patient"), ("view", "sex", "age_years")
REPORTED_SPLITS = ("validation", "test")
Names = NDArray[np.str_]
_NONE: Names = np.empty(0, np.str_)


@dataclass(frozen=True, slots=True)
class Scores:
    """One model on the images of one split; runs of one task have the same images in the same order."""

    images: NDArray[np.int32]
    """(N,) positions in the split's list of images, ascending."""
    patients: NDArray[np.int32]
    """(N,) positions in the split's list of patients."""
    labels: NDArray[np.bool_]
    """(N,)"""
    scores: NDArray[np.float64]
    """(N,)"""

    def among(self, kept: NDArray[np.bool_]) -> "Scores":
        """Return the scores of those images ``(N,)`` that are ``kept``."""
        return Scores(self.images[kept], self.patients[kept], self.labels[kept], self.scores[kept])


@dataclass(frozen=True, slots=True)
class SplitScores:
    """All models of one run on the images of one split."""

    images: NDArray[np.int32]
    patients: NDArray[np.int32]
    labels: NDArray[np.bool_]
    by_model: Mapping[str, NDArray[np.float32]]
    """Each (N,), as the file holds them."""
    floors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Scores (N,) of rules that a one-class model must beat; empty where none are recorded."""
    findings: Names = field(default_factory=lambda: np.empty(0, np.str_))
    """(N,) the pathologies of each image, separated by ``|``; empty where they are not recorded."""
    orders: Mapping[str, str] = field(default_factory=dict)
    """``Order.key`` of each model's rows in the file."""

    def of(self, model: str) -> Scores:
        """Return what one model says."""
        scores = self.by_model[model].astype(np.float64)
        return Scores(self.images, self.patients, self.labels, scores)

    def of_floor(self, floor: str) -> Scores:
        """Return what a floor says."""
        return Scores(self.images, self.patients, self.labels, self.floors[floor].astype(np.float64))


@dataclass(frozen=True, slots=True)
class TestImages:
    """What is known of the images of the test split, by position."""

    __test__ = False  # pytest takes names in Test for tests

    patients: int
    """Number of different patients."""
    view: Names
    """(N,) such as ``PA``; empty where it isn't known."""
    sex: Names
    """(N,) such as ``F``; empty where it isn't known."""
    age_years: NDArray[np.float64]
    """(N,) NaN where it isn't known."""
    names: str = ""
    """SHA-256 of the names of the images and the patients, in the order of their numbers."""


@dataclass(frozen=True, slots=True)
class Order:
    """The images of one split as a run's file lists them, and their numbers."""

    names: "pa.Array"
    """``(N,)`` of the images."""
    owners: "pa.Array"
    """``(N,)`` names of the patients."""
    places: NDArray[np.int64]
    """``(N,)`` by which the file's rows come into the order of the numbers."""
    images: NDArray[np.int32]
    """``(N,)`` numbers, ascending."""
    patients: NDArray[np.int32]
    """``(N,)`` number of each image's patient."""
    key: str
    """SHA-256 of its rows."""


@dataclass(slots=True)
class Numbering:
    """Gives images and patients of each split one number over all runs."""

    images: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    patients: dict[str, dict[str, int]] = field(default_factory=lambda: defaultdict(dict))
    facts: dict[int, tuple[str, str, float]] = field(default_factory=dict)
    """View, sex and age in years of the test split's images, by number."""
    orders: dict[str, deque[Order]] = field(default_factory=lambda: defaultdict(lambda: deque(maxlen=ORDERS_KEPT)))
    """Those that were met last, since the runs of a study list the same images."""
    listed: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    """The rows of every order that was met, by its key."""
    _lock: Lock = field(default_factory=Lock)

    def order_of(self, rows: "pa.Table", split: str) -> Order:
        """Return the numbers of the images in rows of one model."""
        with self._lock:
            return self._order_of(rows, split)

    def _order_of(self, rows: "pa.Table", split: str) -> Order:
        names, owners = (_text(rows[column]) for column in NAMES)
        for known in self.orders[split]:
            if known.names.equals(names) and known.owners.equals(owners):
                return known
        numbers = _numbers(self.images[split], names)
        places = np.argsort(numbers, kind="stable")
        patients = _numbers(self.patients[split], owners)
        listed = listed_rows(rows, split)
        key = hashlib.sha256(to_bytes(listed)).hexdigest()
        order = Order(names, owners, places, numbers[places], patients[places], key)
        self.listed[key] = listed
        if split == "test":
            self._note_facts(rows, numbers)
        self.orders[split].append(order)
        return order

    def test_images(self) -> TestImages:
        """Return what is known of all images of the test split that were numbered."""
        facts = [self.facts[number] for number in range(len(self.facts))]
        view, sex, age = zip(*facts, strict=True) if facts else ((), (), ())
        names = to_bytes([list(self.images["test"]), list(self.patients["test"])])
        return TestImages(
            len(self.patients["test"]),
            np.array(view, np.str_),
            np.array(sex, np.str_),
            np.array(age, np.float64),
            hashlib.sha256(names).hexdigest(),
        )

    def _note_facts(self, rows: "pa.Table", numbers: NDArray[np.int32]) -> None:
        columns = (rows[column].to_pylist() for column in FACTS)
        for image, view, sex, age in zip(numbers.tolist(), *columns, strict=True):
            self.facts[image] = (view or "", sex or "", float("nan") if age is None else float(age))


class Predictions(Mapping[str, SplitScores]):
    """The predictions of a run by split, read when they are asked for and kept until they are released."""

    def __init__(
        self,
        models: Mapping[str, Sequence[str]],
        read: Callable[[], Mapping[str, SplitScores]],
        held: Mapping[str, SplitScores] | None = None,
        checksum: str = "",
    ) -> None:
        """Take the names of the models in each split, what reads their scores, and these where they are read.

        ``checksum`` is the SHA-256 of the file, where results are kept by it.
        """
        self.models, self.checksum = models, checksum
        self._read, self._held = read, held

    def __getitem__(self, split: str) -> SplitScores:
        """Return those of a split.

        Raises:
            KeyError: there are none.
            DamagedError: the file is not what it was.
        """
        if split not in self.models:
            raise KeyError(split)
        if self._held is None:
            self._held = self._read()
        return self._held[split]

    def __contains__(self, split: object) -> bool:
        """Say whether there are some of a split, without reading them."""
        return split in self.models

    def __iter__(self) -> Iterator[str]:
        """Yield the splits."""
        return iter(self.models)

    def __len__(self) -> int:
        """Return the number of splits."""
        return len(self.models)

    def release(self) -> None:
        """Forget the scores: a study of thousands of runs has gigabytes of them."""
        self._held = None


def models_of(predictions: Mapping[str, SplitScores], split: str) -> Sequence[str]:
    """Return the names of the models that have scored a split, without reading their scores."""
    if isinstance(predictions, Predictions):
        return predictions.models[split]
    return list(predictions[split].by_model)


def listed_rows(rows: "pa.Table", split: str) -> dict[str, list[Any]]:
    """Return what the rows of one model say of the images, whatever their scores."""
    columns = (*NAMES, *FACTS) if split == "test" else NAMES
    return {column: rows[column].to_pylist() for column in columns}


def split_scores(predictions: "pa.Table", numbering: Numbering) -> dict[str, SplitScores]:
    """Return the validation and test splits of one run's predictions, a table of ``clr_hpc.store.predictions``."""
    by_split = {split: _rows_of(predictions, "split", split) for split in REPORTED_SPLITS}
    return {split: _split_scores(rows, split, numbering) for split, rows in by_split.items() if len(rows)}


def _split_scores(rows: "pa.Table", split: str, numbering: Numbering) -> SplitScores:
    import pyarrow.compute as pc

    models = pc.unique(rows["model"]).to_pylist()
    by_model = {model: _rows_of(rows, "model", model) for model in models}
    orders = {model: numbering.order_of(part, split) for model, part in by_model.items()}
    first, part = orders[models[0]], by_model[models[0]]
    return SplitScores(
        first.images,
        first.patients,
        part["label"].to_numpy()[first.places] == 1,
        {model: each["score"].to_numpy()[orders[model].places] for model, each in by_model.items()},
        {
            name: part[column].to_numpy()[first.places]
            for name, column in FLOORS.items()
            if not part[column].null_count
        },
        _findings(part["findings"])[first.places] if part["findings"].null_count < len(part) else _NONE,
        {model: order.key for model, order in orders.items()},
    )


def _rows_of(rows: "pa.Table", column: str, value: str) -> "pa.Table":
    import pyarrow as pa

    numbers, values = codes(rows[column])
    wanted = values.index(value).as_py()  # -1, which no row has, where it is absent
    return rows.filter(pa.array(numbers == wanted))


def _findings(column: "pa.ChunkedArray") -> Names:
    return np.array(column.fill_null("").to_pylist(), dtype=np.str_)


def _numbers(known: dict[str, int], names: "pa.Array") -> NDArray[np.int32]:
    return np.array([known.setdefault(name, len(known)) for name in names.to_pylist()], dtype=np.int32)


def _text(column: "pa.ChunkedArray") -> "pa.Array":
    """Return names as text, which compares whatever numbers a file gives its names."""
    import pyarrow as pa

    return column.cast(pa.string()).combine_chunks()
