"""The folder of figure files next to the page: an SVG and a PDF of each figure that an author may want."""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

from clr_hpc.reporting.figures.picture import WRITER, Picture
from clr_hpc.reporting.figures.select import Drawing, StudyFigures, shown_first
from clr_hpc.store.atomic import atomic_write, own_files

_FILES = re.compile(r"[a-z0-9-]+\.(svg|pdf)")
_LONGEST = 100
"""Letters of a file's name, without its ending."""


FigureFiles = Literal["main", "all", "none"]
"""Which figures are written; ``main``: those over all findings, and the curves that the page shows first."""


def check_figures(which: str) -> None:
    """Raise a ``ValueError`` unless it is one of ``FigureFiles``."""
    if which not in get_args(FigureFiles):
        raise ValueError(f"figures: {which!r} is none of {', '.join(get_args(FigureFiles))}")


def write_figures(
    folder: Path, which: FigureFiles, figures: StudyFigures, range_tests: Sequence[Drawing] = ()
) -> list[str]:
    """Write figures into a folder, made if there are any, and return the files' names.

    Files of an earlier report that are not written again are removed; others in the folder are not.

    Raises:
        OSError: the disk is full, or the folder can't be written.
    """
    written: list[str] = []
    for name, picture in _named(_chosen(which, figures, range_tests)):
        folder.mkdir(exist_ok=True)
        for ending, content in (("svg", picture.svg().encode()), ("pdf", picture.pdf())):
            written.append(f"{name}.{ending}")
            with atomic_write(folder / written[-1]) as temporary:
                temporary.write_bytes(content)
    for file in own_files(folder, _FILES):
        if file.name not in written and WRITER.encode() in file.read_bytes():
            file.unlink()
    if not written:
        with suppress(OSError):  # it isn't there, or not empty
            folder.rmdir()
    return written


def _chosen(which: FigureFiles, figures: StudyFigures, range_tests: Sequence[Drawing]) -> Iterator[Picture]:
    if which == "none":
        return
    alone = (figures.forest, figures.training_differences, figures.models, figures.labels)
    yield from filter(None, alone)
    whole = (*figures.overviews, *figures.one_class_overviews, *figures.architectures)
    sections = (figures.training_curves, figures.score_curves, range_tests)
    if which == "main":
        shown = [drawing for drawing in map(shown_first, sections) if drawing]
    else:
        shown = [drawing for section in sections for drawing in section]
    for drawing in (*whole, *shown):
        for figure in drawing.figures:
            assert isinstance(figure, Picture)
            yield figure


def _named(pictures: Iterator[Picture]) -> Iterator[tuple[str, Picture]]:
    """Yield each figure with its name: what it shows, in letters that every program takes."""
    taken: set[str] = set()
    for picture in pictures:
        words = re.sub(r"[^a-z0-9]+", "-", picture.key.lower()).strip("-")[:_LONGEST].strip("-")
        name, number = words, 1
        while name in taken:
            number += 1
            name = f"{words}-{number}"
        taken.add(name)
        yield name, picture
