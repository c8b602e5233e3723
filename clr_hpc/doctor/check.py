"""What a check has found, and how several are made at once."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """Works, but not as well or as safely as it could."""
    FAILURE = "failure"
    """Something that training needs does not work."""


@dataclass(frozen=True)
class Check:
    """One line of what was found."""

    subject: str
    """What was looked at, in a word or two."""
    level: Level
    text: str
    remedy: str = ""
    """What to do about it; empty where nothing is to be done."""


def ok(subject: str, text: str) -> Check:
    """Return that something is as it should be."""
    return Check(subject, Level.OK, text)


def warning(subject: str, text: str, remedy: str) -> Check:
    """Return that something could be better."""
    return Check(subject, Level.WARNING, text, remedy)


def failure(subject: str, text: str, remedy: str) -> Check:
    """Return that something does not work."""
    return Check(subject, Level.FAILURE, text, remedy)


Examination = Callable[[], Iterable[Check]]
"""Looks at one thing and finds one thing of it or several."""


def examine(examinations: Sequence[Examination]) -> Iterator[Check]:
    """Yield what all of these find, in their order. All begin at once: most wait for a disk or a program."""
    with ThreadPoolExecutor(max_workers=max(1, len(examinations))) as pool:
        for found in [pool.submit(_made, each) for each in examinations]:
            yield from found.result()


def _made(examination: Examination) -> list[Check]:
    return list(examination())
