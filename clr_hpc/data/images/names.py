"""Which file a name of a table means: the one of exactly this name, or the only one that fits otherwise."""

import re
import unicodedata
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from clr_hpc.data.images.kinds import IMAGE_SUFFIXES
from clr_hpc.data.images.listing import ImageFile, suffix

BELOW = "below"
"""A bare name of a file that lies in a folder below."""
SPELLING = "spelling"
"""``./``, backslashes, doubled or leading slashes."""
CASE = "case"
ACCENTS = "accents"
"""Composed in the one and not in the other, as macOS writes names."""
SUFFIX = "suffix"
"""Another, or none."""
FEWER = "fewer_folders"
"""The name lacks leading folders of the path."""
MORE = "more_folders"
"""The name begins with folders that lie outside the images folder, or with that folder itself."""
_ELSEWHERE = "elsewhere"
"""Those folders are not the ones in which the images folder lies."""

UNREAD_SUFFIXES = frozenset(
    {".ima", ".nii", ".nrrd", ".mha", ".mhd", ".npy", ".npz", ".jp2", ".j2k", ".jls", ".heic"}
    | {".avif", ".zip", ".gz", ".tar", ".tgz"}
)
"""Suffixes of files that may hold the image of a name, and of names whose image may be a PNG by now."""

_DRIVE = re.compile(r"^[A-Za-z]:(?=[/\\])")


class Fit(NamedTuple):
    """What a name may mean."""

    files: tuple[ImageFile, ...]
    """None, the one that is meant, or several, none of which can be preferred; sorted."""
    kinds: frozenset[str] = frozenset()
    """Where it is one, how the name differs from its path."""


class NameIndex:
    """The files that names are looked up in."""

    def __init__(self, files: Sequence[ImageFile]) -> None:
        """Index the files, at a cost linear in their number and depth."""
        self._files = files
        self._exact: dict[str, list[ImageFile]] = {}
        self._loose: dict[str, list[ImageFile]] = {}
        self._ends: dict[int, dict[str, list[ImageFile]]] = {}
        for file in files:
            self._exact.setdefault(file.name, []).append(file)
            self._loose.setdefault(_loosened(file.name.split("/")), []).append(file)
        self._folders = {root: _parts(str(root.absolute())) for root in {file.root for file in files}}

    def find(self, name: str) -> Fit:
        """Return what ``name`` means.

        An exact match wins. Otherwise a file that differs in some kinds gives way to one that differs in a part of
        those kinds only, and two files of which neither gives way leave the name undecided.
        """
        if exact := self._exact.get(name):
            return Fit(tuple(exact))
        parts = _parts(name)
        spelled = frozenset({SPELLING} if "/".join(parts) != name else ())
        if exact := self._exact.get("/".join(parts)):
            return Fit(tuple(exact), spelled)
        by_kinds: dict[frozenset[str], list[ImageFile]] = {}
        for file in self._candidates(parts):
            by_kinds.setdefault(self._differences(parts, file), []).append(file)
        least = minimal(by_kinds)
        return Fit(
            tuple(sorted(file for kinds in least for file in by_kinds[kinds])),
            spelled.union(*least) - {_ELSEWHERE},
        )

    def _candidates(self, parts: Sequence[str]) -> Iterator[ImageFile]:
        """Yield every file whose path ends as the name does, or is the end of the name."""
        if not parts:
            return
        for first in range(len(parts)):
            yield from self._loose.get(_loosened(parts[first:]), ())
        if len(parts) not in self._ends:
            self._ends[len(parts)] = self._index_ends(len(parts))
        yield from self._ends[len(parts)].get(_loosened(parts), ())

    def _differences(self, name: Sequence[str], file: ImageFile) -> frozenset[str]:
        """Return the kinds by which a name differs from the path of one of its candidates."""
        path = file.name.split("/")
        surplus = len(name) - len(path)
        kinds = set(_other_letters(name[-len(path) :], path[-len(name) :]))
        if surplus < 0:
            kinds.add(BELOW if len(name) == 1 else FEWER)
        elif surplus > 0:
            kinds.add(MORE)
            if _fold("/".join(self._folders[file.root][-surplus:])) != _fold("/".join(name[:surplus])):
                kinds.add(_ELSEWHERE)
        return frozenset(kinds)

    def _index_ends(self, length: int) -> dict[str, list[ImageFile]]:
        """Return the files that lie deeper than ``length`` by the last parts of their path."""
        found: dict[str, list[ImageFile]] = {}
        for file in self._files:
            parts = file.name.split("/")
            if len(parts) > length:
                found.setdefault(_loosened(parts[-length:]), []).append(file)
        return found


def minimal(kinds: Collection[frozenset[str]]) -> set[frozenset[str]]:
    """Return the sets that no other is a part of."""
    return {one for one in kinds if not any(other < one for other in kinds)}


def _parts(name: str) -> list[str]:
    """Return the folders and the file of a path as any system writes it, without drive and ``./``."""
    parts: list[str] = []
    for part in re.split(r"[/\\]+", _DRIVE.sub("", name)):
        if part == "..":
            del parts[-1:]
        elif part not in ("", "."):
            parts.append(part)
    return parts


def _loosened(parts: Sequence[str]) -> str:
    """Return what all spellings of a path have in common."""
    *folders, (stem, _) = *parts[:-1], _split(parts[-1])
    return _fold("/".join([*folders, stem]))


def _fold(text: str) -> str:
    """Return a text without case, its accents composed."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def _split(file: str) -> tuple[str, str]:
    """Return the stem and the suffix, ``""`` where what follows the last dot is none of an image's."""
    found = suffix(file)
    length = len(found) if found in IMAGE_SUFFIXES or found in UNREAD_SUFFIXES else 0
    return file[: len(file) - length], file[len(file) - length :]


def _other_letters(name: Sequence[str], path: Sequence[str]) -> Iterator[str]:
    """Yield the kinds by which two paths of one length and one loosened form differ."""
    (stem, end), (file_stem, file_end) = _split(name[-1]), _split(path[-1])
    if end.lower() != file_end.lower():
        yield SUFFIX
        end = file_end
    mine, its = "/".join([*name[:-1], stem + end]), "/".join([*path[:-1], file_stem + file_end])
    if mine == its:
        return
    if other_case := unicodedata.normalize("NFC", mine) != unicodedata.normalize("NFC", its):
        yield CASE
    if not other_case or mine.casefold() != its.casefold():
        yield ACCENTS
