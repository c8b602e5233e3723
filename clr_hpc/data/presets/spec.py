"""What a YAML file says of a public data set."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from clr_hpc.config.base import FrozenSpec
from clr_hpc.data.tables.layout import ReadersRule, RowKind, TableLayout
from clr_hpc.data.tables.values import Meaning, ValueRules

SPLIT_OF_FILE = "split of file"
IMAGE_OF_TEMPLATE = "image of template"
"""Columns that are added where a preset asks for them."""


class PresetTable(FrozenSpec):
    """One table of a data set."""

    names: tuple[str, ...]
    """File names, with folders where needed; the first that is there is taken, packed as .gz or .zip or not."""
    split: Literal["train", "validation", "test", "train_val"] | None = None
    """The side of all its rows."""
    optional: bool = False


class Join(PresetTable):
    """A table that says more of the rows of the others."""

    on: str
    """Column that both have."""


class LeftOut(FrozenSpec):
    """Rows that are not packed."""

    column: str
    pattern: str
    """Regular expression, searched in the cell."""
    reason: str


class Edition(FrozenSpec):
    """One form in which a data set is published."""

    title: str
    tables: tuple[PresetTable, ...] = Field(min_length=1)
    """Their rows stand below each other; a column that one lacks is blank there."""
    join: tuple[Join, ...] = ()
    image: str
    """Column with the image's name, or a template of columns: ``{dicom_id}.jpg``."""
    patient: str | None = None
    patient_from: str | None = None
    image_is_patient: bool = False
    labels: Mapping[str, str | tuple[str, ...]] = Field(default_factory=dict)
    """Finding of a column, or findings of a name in the cells of ``findings_column``; "" leaves that name out."""
    findings: tuple[str, ...] = ()
    """Findings besides the 14, of columns or names that are called so."""
    findings_column: str | None = None
    list_separator: str | None = None
    """Between findings in a cell, where it is none of ``|;,``."""
    other_findings: Literal["reject", "ignore"] = "ignore"
    rows: RowKind | None = None
    view: tuple[str, ...] = ()
    age: str | None = None
    sex: str | None = None
    split: str | None = None
    reader: str | None = None
    readers: ReadersRule | None = None
    words: Mapping[str, Meaning] = Field(default_factory=dict)
    """The publisher's own spellings of labels."""
    other_words: Meaning | None = None
    """What any other text means, such as the run lengths of a mask."""
    leave_out: tuple[LeftOut, ...] = ()

    @model_validator(mode="after")
    def _splits_once(self) -> "Edition":
        if self.split is not None and any(table.split for table in self.tables):
            raise ValueError("the split is a column or that of the tables, not both")
        return self

    @property
    def has_split(self) -> bool:
        """Whether the publisher divides the images."""
        return self.split is not None or any(table.split for table in self.tables)

    def layout(self, blank: Meaning, uncertain: Meaning, readers: ReadersRule | None) -> TableLayout:
        """Return what the columns of the joined table are for."""
        pairs = [
            (name, finding)
            for name, meant in self.labels.items()
            for finding in ((meant,) if isinstance(meant, str) else meant)
        ]
        return TableLayout(
            image=IMAGE_OF_TEMPLATE if "{" in self.image else self.image,
            patient=self.patient,
            patient_from=self.patient_from,
            image_is_patient=self.image_is_patient,
            labels=tuple(pairs),
            findings=self.findings,
            findings_column=self.findings_column,
            other_findings=self.other_findings,
            rows=self.rows,
            view=self.view,
            age=self.age,
            sex=self.sex,
            split=self.split or (SPLIT_OF_FILE if self.has_split else None),
            reader=self.reader,
            readers=readers or self.readers,
            values=ValueRules(blank, uncertain, tuple(self.words.items()), self.other_words),
        )


class Preset(FrozenSpec):
    """A public data set."""

    title: str
    reads: str
    """What is packed, in a sentence or two."""
    leaves_out: str
    """What of the data set is not read."""
    terms: str
    citation: str
    url: str
    editions: tuple[Edition, ...] = Field(min_length=1)
    """The first whose tables are there is taken."""
