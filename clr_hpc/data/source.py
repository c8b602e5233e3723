"""What a source is: records that name images, and a way to read one of them."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError
from clr_hpc.config.pathologies import PATHOLOGIES


class SourceError(UserError, ValueError):
    """A source's tables can't be read as what they should be; the message says what to change."""


class RejectedImageError(Exception):
    """One image can't be used; the message is the reason that goes into ``rejected.csv``."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One image of a source with all that is known of it before its pixels are read."""

    image: str
    """Unique name within the source, such as ``00000001_000.png``."""
    patient: str
    """Images of one patient always share a split; a source without patients gives each image its own."""
    labels: tuple[int, ...]
    """(findings,) POSITIVE, NEGATIVE or UNKNOWN, in the order of the table's findings."""
    view: str | None = None
    """``PA``, ``AP``, ``LATERAL`` ... or None where it isn't known."""
    age_years: float | None = None
    sex: str | None = None
    """``F``, ``M`` or None."""
    official_split: str | None = None
    """``train_val``, ``train``, ``validation`` or ``test`` where the publisher ships lists, else None."""
    path: Path | None = None
    """The file, for sources that have files; None for the phantom."""
    no_finding: int | None = None
    """Where the source itself says whether nothing was found; None: it follows from the labels."""


@dataclass(frozen=True, slots=True)
class Rejection:
    """One image (or table row) that is left out, and why."""

    image: str
    reason: str


@dataclass(frozen=True, slots=True)
class Box:
    """Where a reader saw a finding, in fractions of the square image: 0 is left or top, 1 is right or bottom."""

    image: str
    pathology: str
    left: float
    top: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class SourceTable:
    """What a source's tables say: the images to pack, and the ones already rejected."""

    records: tuple[ImageRecord, ...]
    """Records in the order of the pack: sorted by image name."""
    findings: tuple[str, ...] = PATHOLOGIES
    """What the labels of a record are of: the 14, and what else the source has."""
    rejections: tuple[Rejection, ...] = ()
    boxes: tuple[Box, ...] = ()
    resampling: str = "none"
    """How ``read`` brings an image to the pack's size; ``none`` for images that are drawn at that size."""
    provenance: dict[str, object] = field(default_factory=dict)
    """JSON-able: kind of source, every option that changes a row or a pixel, SHA-256 of its tables.

    Holds no absolute path and no time. An interrupted pack is resumed only with a source of the same provenance.
    """


@dataclass(frozen=True, slots=True)
class Option:
    """How the command line asks for a field of a source: ``images: Annotated[Path, Option("Folder of images.")]``.

    A ``bool`` becomes a flag, a ``Literal`` an option of a few words. A tuple of texts or paths becomes an option
    that is repeated, a ``Mapping`` of texts or a tuple of pairs one that is repeated as ``KEY=VALUE``.
    """

    help: str
    flag: str | None = None
    """None: the field's name."""
    metavar: str | None = None
    minimum: int | None = None
    is_argument: bool = False
    """Whether it is given without a flag."""


class ImageSource(ABC):
    """A data set as its publisher ships it: a frozen dataclass, whose fields are the options of its command.

    Picklable and small: worker processes get copies and call ``read``. The docstring is the command's help.
    """

    default_size: ClassVar[int] = 256
    default_validation_fraction: ClassVar[float] = 0.1
    is_collection: ClassVar[bool] = False
    """Whether it is one public collection, rather than a kind of files; the help lists these apart."""

    @property
    def has_official_split(self) -> bool:
        """Whether the publisher's split is followed, by ``official_split`` of the records."""
        return False

    @abstractmethod
    def table(self) -> SourceTable:
        """Read the tables, find the images, and return what can be packed."""

    def look_through(
        self,
        records: Sequence[ImageRecord],  # noqa: ARG002
        workers: int,  # noqa: ARG002
        memory: Path,  # noqa: ARG002
    ) -> tuple[Self, dict[str, object]]:
        """Find what one image can't say of itself, before any is read.

        Args:
            records: what will be packed.
            workers: processes that may read files.
            memory: a JSON file for what a start after an interruption need not look for again.

        Returns:
            The source, and what the manifest says of it besides the table's provenance.
        """
        return self, {}

    @abstractmethod
    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        """Return pixels ``(size, size)`` uint8 and the SHA-256 of the bytes they came from.

        Raises:
            RejectedImageError: the image can't be read correctly; the message says why.
        """
