"""The command that packs a table, from what its columns seem to hold."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from clr_hpc.config.pathologies import misspelt
from clr_hpc.data.source import ImageSource
from clr_hpc.data.sources.nih import FINDINGS_COLUMN, NihSource
from clr_hpc.data.sources.table import TableSource
from clr_hpc.data.tables.label_table import LabelTable
from clr_hpc.data.tables.roles import Roles, find_roles

_PATIENT_PATTERNS = (
    r"(patient\d+)",
    r"(subject\w*?\d+)",
    r"(sub-[A-Za-z0-9]+)",
    r"(?:^|/)(p\d+)/",
    r"(?:^|/)(\d+)_\d+\.\w+$",
    r"(?:^|/)([^/_]+)_[^/]+$",
    r"(?:^|/)([^/]+)/[^/]+$",
)
"""From the surest on; each must find a patient in every name, and fewer patients than images."""
_MOST_NAMES = 10
"""Names that are none of the 14 which a command still lists one by one."""
_IMAGES = Path("IMAGES")


@dataclass(frozen=True, slots=True)
class Proposal:
    """How a table could be packed."""

    source: ImageSource
    columns: Mapping[str, str]
    """What each column is taken for, "" for one that isn't read."""
    notes: tuple[str, ...]
    """What to check, or to decide."""
    command: str
    """Complete, to be copied into a shell."""


def propose(table: LabelTable, separator: str | None = None, encoding: str | None = None) -> Proposal:
    """Return the command that packs a table; only the images' folder may be left to be filled in."""
    roles = find_roles(table)
    names = set(table.cells(roles.image))
    images = _folder_of(table.path, sorted(names)[:3])
    notes = [] if images else [f"replace {_IMAGES} by the folder of the images"]
    if table.find_column(FINDINGS_COLUMN) is not None and table.find_column("Image Index") is not None:
        nih = NihSource(images or _IMAGES, table.path)
        notes.append("add --train-val-list and --test-list for the official split, --boxes for the boxes")
        return Proposal(nih, _columns(table, roles), tuple(notes), command_of("nih", nih, table.path))
    pattern = None if roles.patient else _pattern(names)
    several = roles.reader is not None and len(names) < len(table.rows)
    many = len(roles.other_names) > _MOST_NAMES
    others = roles.other_labels if roles.findings is None else roles.other_names
    slips = {name: near for name in others if (near := misspelt(name)) is not None}
    source = TableSource(
        images=images or _IMAGES,
        labels=table.path,
        image_column=roles.image,
        patient_column=roles.patient,
        patient_from=pattern,
        image_is_patient=roles.patient is None and pattern is None,
        label_columns=tuple(slips.items()),
        findings=() if many and roles.findings else tuple(name for name in others if name not in slips),
        findings_column=roles.findings,
        other_findings="ignore" if many else "reject",
        reader_column=roles.reader,
        readers="majority" if several else None,
        view_columns=tuple(roles.view),
        age_column=roles.age,
        sex_column=roles.sex,
        split_column=roles.split,
        separator=separator,
        encoding=encoding,
    )
    notes += [f"{name!r} is taken for {near}; check that this is right" for name, near in slips.items()]
    notes += _decisions(roles, source)
    columns = _columns(table, roles) | {
        name: f"label {near}" for name, near in slips.items() if not roles.findings
    }
    return Proposal(source, columns, tuple(notes), command_of("table", source, table.path))


def _columns(table: LabelTable, roles: Roles) -> dict[str, str]:
    return {name: roles.of_column(name) for name in table.columns if name}


def _decisions(roles: Roles, source: TableSource) -> Iterator[str]:
    if source.patient_from is not None:
        yield f"patients are told apart by {source.patient_from} in image names; check that this is right"
    elif source.image_is_patient:
        yield "nothing names the patient: give --patient-column, unless each image is of another patient"
    if source.readers is not None:
        yield "images have several readers: --readers majority, or any, or all"
    if source.other_findings == "ignore":
        yield f"{len(roles.other_names)} names in {roles.findings} are none of the 14; --finding NAME takes one"
    if source.findings and roles.findings is None:
        yield (
            f"{', '.join(source.findings)}: none of the 14 findings by name; if it is one, give --label COLUMN="
            "FINDING in place of --finding"
        )


def command_of(name: str, source: ImageSource, table: Path) -> str:
    """Return the command line that packs a source, with all options that differ from their defaults."""
    words = ["clr-hpc", "pack", name]
    hints = get_type_hints(type(source), include_extras=True)
    for each in fields(source):  # type: ignore[arg-type]
        value = getattr(source, each.name)
        if each.default is MISSING or value != each.default:
            option = get_args(hints[each.name])[1]
            words += _words(option.flag or f"--{each.name.replace('_', '-')}", value)
    stem = re.sub(r"[^\w-]+", "_", table.name.partition(".")[0]) or "mine"
    return shlex.join([*words, "--output", f"packs/{stem}"])


def _words(flag: str, value: Any) -> list[str]:
    if value is True:
        return [flag]
    if isinstance(value, tuple):
        texts = ["=".join(each) if isinstance(each, tuple) else each for each in value]
        return [word for text in texts for word in (flag, text)]
    return [flag, str(value)]


def _folder_of(table: Path, names: list[str]) -> Path | None:
    """Return the folder near a table that some of its images are in."""
    try:
        near = [table.parent, *sorted(path for path in table.parent.iterdir() if path.is_dir())]
        for folder in near:
            if any(name and (folder / name).is_file() for name in names):
                return folder
        for folder in near[1:]:
            stems = {path.stem for path in folder.iterdir()}
            if any(Path(name).stem in stems for name in names if name):
                return folder
    except OSError:  # a folder that may not be listed, a name that is too long for the disk: it is only a guess
        pass
    return None


def _pattern(names: set[str]) -> str | None:
    """Return a pattern that finds in each name which patient it is of."""
    for pattern in _PATIENT_PATTERNS:
        found = [re.search(pattern, name) for name in names]
        patients = {match[1] for match in found if match is not None}
        if all(found) and 1 < len(patients) < len(names):
            return pattern
    return None
