"""A source of the user's own, named on the command line."""

from dataclasses import dataclass
from functools import cache
from typing import Annotated

import numpy as np
from numpy.typing import NDArray

from clr_hpc.data.given_class import find_class, make
from clr_hpc.data.source import ImageRecord, ImageSource, Option, SourceError, SourceTable


@dataclass(frozen=True)
class OwnSource(ImageSource):
    """Pack a source of your own: a class of clr_hpc.data.source.ImageSource."""

    name: Annotated[str, Option("The class: module:Class.", metavar="MODULE:CLASS", is_argument=True)]
    arguments: Annotated[
        tuple[tuple[str, str], ...],
        Option("An argument of the class; repeat.", flag="--arg", metavar="NAME=VALUE"),
    ] = ()

    @property
    def has_official_split(self) -> bool:
        return _made(self.name, self.arguments).has_official_split

    def table(self) -> SourceTable:
        """Return the table of the user's source.

        Raises:
            SourceError: the class can't be imported, is no source, or doesn't take the arguments.
        """
        return _made(self.name, self.arguments).table()

    def read(self, record: ImageRecord, size: int) -> tuple[NDArray[np.uint8], str]:
        return _made(self.name, self.arguments).read(record, size)


@cache
def _made(name: str, arguments: tuple[tuple[str, str], ...]) -> ImageSource:
    """Return the source: one per process, so that what it opens is opened once."""
    kind = find_class(name)
    if not (isinstance(kind, type) and issubclass(kind, ImageSource)):
        raise SourceError(f"{name} is no class of clr_hpc.data.source.ImageSource; derive it from that")
    made: ImageSource = make(kind, name, arguments)
    return made


SOURCE = OwnSource
