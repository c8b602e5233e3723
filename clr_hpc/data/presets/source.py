"""A public data set as it was downloaded, described by its preset."""

import logging
from collections import Counter
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, ClassVar

from clr_hpc.data.images.files import RESAMPLING, FileSource
from clr_hpc.data.images.folder import locate
from clr_hpc.data.presets import read_preset
from clr_hpc.data.presets.find import find_edition
from clr_hpc.data.presets.join import read_joined
from clr_hpc.data.source import Option, SourceError, SourceTable
from clr_hpc.data.tables.label_table import LabelTable
from clr_hpc.data.tables.layout import ReadersRule, TableLayout
from clr_hpc.data.tables.records import read_records
from clr_hpc.data.tables.values import Meaning
from clr_hpc.data.tables.views import select_views, wanted_views

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PresetSource(FileSource):
    """A public data set; ``preset_source`` gives the class of each."""

    is_collection = True
    preset: ClassVar[str]

    folder: Annotated[Path, Option("Folder of the data set as downloaded.", is_argument=True)]
    images: Annotated[
        tuple[Path, ...],
        Option("Folder of the images, if it is another, or a pattern in quotes; repeat.", metavar="FOLDER"),
    ] = ()
    blank: Annotated[Meaning, Option("What a blank label means.")] = "unknown"
    uncertain: Annotated[Meaning, Option("What an uncertain label (-1) means.")] = "unknown"
    readers: Annotated[ReadersRule | None, Option("How many of an image's readers must say yes.")] = None
    views: Annotated[tuple[str, ...], Option("A view to pack, such as PA; repeat.", flag="--view")] = ()
    frontal: Annotated[bool, Option("Pack PA and AP only.")] = False
    own_split: Annotated[bool, Option("Draw a split by patient instead of the publisher's.")] = False
    subset: Annotated[bool, Option("The folder holds only some of the table's images.")] = False
    """Rows without a file are counted, not rejected one by one."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how a worker process makes a copy: the class is made anew from its preset's name."""
        return _again, (self.preset, {field.name: getattr(self, field.name) for field in fields(self)})

    @property
    def has_official_split(self) -> bool:
        return not self.own_split and find_edition(read_preset(self.preset), self.folder)[0].has_split

    def table(self) -> SourceTable:
        """Read the tables and find the images.

        Raises:
            SourceError: tables are missing or of another layout, an option doesn't fit, or no image is there.
        """
        edition, found = find_edition(read_preset(self.preset), self.folder)
        views = wanted_views(self.views, self.frontal)
        if views is not None and not edition.view:
            raise SourceError(
                f"{'--frontal' if self.frontal else '--view'}: the tables of {edition.title} don't tell views; "
                "leave it out"
            )
        if self.readers is not None and edition.readers is None:
            raise SourceError(f"--readers: {edition.title} has one reading per image; leave it out")
        joined = read_joined(edition, found)
        layout = edition.layout(self.blank, self.uncertain, self.readers)
        read = read_records(joined.table, _of_columns_there(layout, joined.table))
        names = {*read.names, *(one.image for one in joined.rejections if one.image)}
        rejections = [*read.rejections, *joined.rejections]
        located = locate(read.records, rejections, names, self.images or self.folder, self.subset)
        records, of_other_views = select_views(located.records, views)
        return SourceTable(
            records=records,
            findings=read.findings,
            rejections=located.rejections,
            resampling=RESAMPLING,
            provenance={
                "kind": self.preset,
                **read.provenance,
                "edition": edition.title,
                "tables_sha256": dict(sorted(joined.sha256.items())),
                "left_out": dict(sorted(Counter(one.reason for one in joined.rejections if one.image).items())),
                "views": sorted(views) if views is not None else None,
                "images_of_other_views": of_other_views,
                "rows_without_file": located.rows_without_file,
                "names": dict(located.names),
                "unknown_ages": sum(one.age_years is None for one in records) if edition.age else None,
            },
        )


def _of_columns_there(layout: TableLayout, table: LabelTable) -> TableLayout:
    """Return a layout without the columns of labels that this copy of the table lacks."""
    if layout.findings_column is not None:
        return layout
    absent = {name for name in (*dict(layout.labels), *layout.findings) if table.find_column(name) is None}
    for name in sorted(absent):
        log.warning("%s has no column %r; this finding is unknown for all images", table.path, name)
    return replace(
        layout,
        labels=tuple(pair for pair in layout.labels if pair[0] not in absent),
        findings=tuple(name for name in layout.findings if name not in absent),
    )


@cache
def preset_source(name: str) -> type[PresetSource]:
    """Return the source class of a preset."""
    preset = read_preset(name)
    text = f"Pack {preset.title}.\n\n{preset.reads}\n\nTerms: {preset.terms}\n\n{preset.url}"
    made: type[PresetSource] = type(f"PresetSource_{name}", (PresetSource,), {"preset": name, "__doc__": text})
    return made


def _again(name: str, values: dict[str, Any]) -> PresetSource:
    return preset_source(name)(**values)
