"""Which file belongs to which row of a table, what has no file, and which files have no row."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from clr_hpc.data.images.listing import ImageFile, Listing, list_files, suffix
from clr_hpc.data.images.names import (
    ACCENTS,
    CASE,
    FEWER,
    MORE,
    SPELLING,
    SUFFIX,
    UNREAD_SUFFIXES,
    Fit,
    NameIndex,
    minimal,
)
from clr_hpc.data.source import ImageRecord, Rejection, SourceError

log = logging.getLogger(__name__)
_IN_WORDS = {
    SPELLING: "are written with ./, backslashes or a leading slash",
    CASE: "have other capitals than their files",
    ACCENTS: "compose accents otherwise than their files",
    SUFFIX: "have another suffix than their files, or none",
    FEWER: "lack folders that their files are in",
    MORE: "begin with folders that lie outside the images folder",
}
"""What is said of names that differ so; a bare name of a file in a folder below is nothing to say."""
_NAMED = 3
"""Files that a reason names where there are more."""


@dataclass(frozen=True, slots=True)
class LocatedRecords:
    """Records whose files are there, and what else the table and the folder hold."""

    records: tuple[ImageRecord, ...]
    """Records with a ``path``, sorted by image name."""
    rejections: tuple[Rejection, ...]
    rows_without_file: int
    names: Mapping[str, int]
    """How many names of ``records`` differ from their file's path, by kind of ``clr_hpc.data.images.names``."""


def locate(
    records: Iterable[ImageRecord],
    row_rejections: Sequence[Rejection],
    names: Collection[str],
    images: Path | Sequence[Path],
    subset: bool,
) -> LocatedRecords:
    """Give each record its file, and log once for each kind how names differ from their files.

    Args:
        records: what the table's usable rows say.
        row_rejections: the table's other rows; one without a file is rejected for that alone.
        names: every image the table names: paths relative to a folder of ``images``, or file names found anywhere
            below it.
        images: where the images are: a folder, several, or patterns of folders.
        subset: whether rows without a file are expected and only counted.

    Raises:
        SourceError: ``images`` names no folder, or no name of the table has a file there.
    """
    listing = list_files(images)
    index = NameIndex(listing.images)
    fits = {name: index.find(name) for name in sorted(names)}
    missing = [name for name, fit in fits.items() if not fit.files]
    others = NameIndex(listing.others if missing else ())
    if missing and len(missing) == len(fits):
        raise SourceError(_none_fits(missing, others, images, listing))
    record_of = {record.image: record for record in records}
    show = _shower(listing)
    rivals = dict(_rivals(fits, record_of, show))
    undecided = _undecided(fits, show)
    alone = undecided.keys() | missing  # a row without a file, or with several, is rejected for that alone
    rejections = [one for one in row_rejections if one.image not in alone]
    rejections += [Rejection(name, reason) for name, reason in {**rivals, **undecided}.items()]
    rejections += _unnamed(listing.images, fits, show)
    if not subset:
        rejections += [Rejection(name, _absence(name, others, show)) for name in missing]
    used = {
        name: fit for name, fit in fits.items() if name in record_of and len(fit.files) == 1 and name not in rivals
    }
    return LocatedRecords(
        records=tuple(
            replace(record_of[name], path=fit.files[0].root / fit.files[0].name) for name, fit in used.items()
        ),
        rejections=tuple(rejections),
        rows_without_file=len(missing),
        names=_count(used, show),
    )


def _shower(listing: Listing) -> Callable[[ImageFile], str]:
    """Return how messages name a file: from the images folder, and where there are several, with it."""
    roots = {file.root for file in (*listing.images, *listing.others)}
    return lambda file: file.name if len(roots) == 1 else (file.root / file.name).as_posix()


def _rivals(
    fits: Mapping[str, Fit], record_of: Mapping[str, ImageRecord], show: Callable[[ImageFile], str]
) -> Iterator[tuple[str, str]]:
    """Yield the names that don't get the only file they fit, since another name fits it as well, and why."""
    names_of: dict[ImageFile, list[str]] = {}
    for name, fit in fits.items():
        if len(fit.files) == 1:
            names_of.setdefault(fit.files[0], []).append(name)
    for file, names in names_of.items():
        if len(names) == 1:
            continue
        kinds = {name: fits[name].kinds - {SPELLING} for name in names}
        least = minimal(set(kinds.values()))
        nearest = [name for name in names if kinds[name] in least]
        agree = len({_nameless(record_of.get(name)) for name in nearest}) == 1
        if len(nearest) == 1 or agree:
            reason = f"means {show(file)}, which the row of {nearest[0]!r} has"
            yield from ((name, reason) for name in names if name != nearest[0])
        else:
            reason = f"{' and '.join(map(repr, nearest[:_NAMED]))} both mean {show(file)}, but their rows differ"
            yield from ((name, reason) for name in names)


def _nameless(record: ImageRecord | None) -> ImageRecord | None:
    """Return what a record says of its image, whatever its name."""
    if record is None:
        return None
    return replace(record, image="", patient="" if record.patient == record.image else record.patient)


def _undecided(fits: Mapping[str, Fit], show: Callable[[ImageFile], str]) -> dict[str, str]:
    """Return why each name that fits several files gets none."""
    return {
        name: f"fits {len(fit.files):,} files: {_some(fit.files, show)}; write its path from the images folder"
        for name, fit in fits.items()
        if len(fit.files) > 1
    }


def _some(files: Sequence[ImageFile], show: Callable[[ImageFile], str]) -> str:
    shown = ", ".join(show(file) for file in files[:_NAMED])
    return shown if len(files) <= _NAMED else f"{shown}, …"


def _unnamed(
    files: Sequence[ImageFile], fits: Mapping[str, Fit], show: Callable[[ImageFile], str]
) -> Iterator[Rejection]:
    """Yield the files that no row has."""
    named = {fit.files[0] for fit in fits.values() if len(fit.files) == 1}
    undecided = {file: name for name, fit in fits.items() if len(fit.files) > 1 for file in fit.files}
    for file in files:
        if file in named:
            continue
        namesake = fits.get(file.name.rpartition("/")[2])
        if file in undecided:
            reason = f"the row of {undecided[file]!r} may mean this file or another"
        elif namesake and len(namesake.files) == 1:
            reason = f"same file name as {show(namesake.files[0])}, which is used"
        else:
            reason = "no row in the label table"
        yield Rejection(show(file), reason)


def _absence(name: str, others: NameIndex, show: Callable[[ImageFile], str]) -> str:
    """Return why a name has no file: there is none, or it is of a kind that is not read."""
    fit = others.find(name)
    for file in fit.files:
        end = suffix(file.name)
        if SUFFIX not in fit.kinds or end in UNREAD_SUFFIXES:
            what = f"{end} is not read" if end else "a file without a suffix is not read"
            return f"{show(file)} is there, but {what}"
    return "no file of this name in the images folder"


def _none_fits(missing: Sequence[str], others: NameIndex, images: Path | Sequence[Path], listing: Listing) -> str:
    """Return the error for a table and a folder that have no image in common."""
    where = str(images) if isinstance(images, Path) else ", ".join(map(str, images))
    show = _shower(listing)
    if listing.images:
        there = f"an image that is there is {show(listing.images[0])!r}"
    elif listing.others:
        there = f"a file that is there, though of no kind that is read, is {show(listing.others[0])!r}"
    else:
        there = "there is no file in it"
    return (
        f"{where} has none of the {len(missing):,} images that the table names, such as {missing[0]!r}: "
        f"{_absence(missing[0], others, show)}; {there}. Give the folder that the table's names start from, "
        "or the column that has the names"
    )


def _count(used: Mapping[str, Fit], show: Callable[[ImageFile], str]) -> dict[str, int]:
    """Return how many names differ from their files by each kind, and log each kind with its first name."""
    counts = Counter(kind for fit in used.values() for kind in fit.kinds)
    for kind, words in _IN_WORDS.items():
        if kind in counts:
            name, fit = next((name, fit) for name, fit in used.items() if kind in fit.kinds)
            log.warning(
                "%s of %s image names %s: %r is %s",
                *(f"{counts[kind]:,}", f"{len(used):,}", words, name, show(fit.files[0])),
            )
    return dict(sorted(counts.items()))
