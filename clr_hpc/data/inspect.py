"""What a pack or a label table holds, as text for the terminal and as a chart of how often each label is given."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clr_hpc.config.given_file import check_output
from clr_hpc.config.pathologies import PATHOLOGIES, title
from clr_hpc.data.manifest import LabelCounts, Manifest, SplitCounts, count_labels, no_findings, read_manifest
from clr_hpc.data.proposal import propose
from clr_hpc.data.rejections import counted_reasons
from clr_hpc.data.source import SourceError
from clr_hpc.data.sources.nih import read_nih_records
from clr_hpc.data.sources.table import TableSource
from clr_hpc.data.tables.label_table import LabelTable, read_label_table
from clr_hpc.data.tables.records import read_records

CHARTS = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a pack or a label table holds."""

    heading: str
    parts: Mapping[str, SplitCounts]
    """The splits of a pack; of a table one part, ``all``."""
    notes: tuple[str, ...]
    columns: Mapping[str, str] = field(default_factory=dict)
    """What each column of a table is taken for."""
    command: str | None = None
    """Packs a table."""

    def positives(self) -> dict[str, int]:
        """Return images per label, ``no_finding`` included, the most frequent first."""
        sums: Counter[str] = Counter()
        for part in self.parts.values():
            sums.update({name: counts.positive for name, counts in part.labels.items()})
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def summarise(path: Path, separator: str | None = None, encoding: str | None = None) -> Summary:
    """Count a pack, by its manifest, or a label table, by what its columns seem to hold.

    Args:
        path: of either.
        separator: of a table's cells, None to recognise it.
        encoding: of a table, None to recognise it.

    Raises:
        PackError: ``path`` is a folder, but no pack or a damaged one.
        SourceError: ``path`` is a table without labels.
    """
    if path.suffix in (".yaml", ".yml") and path.is_file():
        raise SourceError(f"{path} is a study file, not a label table; name a pack or a table")
    if path.is_dir():
        return _of_pack(path, read_manifest(path))
    return _of_table(read_label_table(path, separator, encoding), separator, encoding)


def _of_pack(folder: Path, manifest: Manifest) -> Summary:
    counts = manifest.counts
    notes = [
        f"source {manifest.source['kind']}, {manifest.split.kind} split, {len(manifest.shards)} shards, "
        f"{sum(entry.bytes for entry in manifest.files) / 1e6:,.0f} MB, checksum {manifest.checksum[:12]}"
    ]
    if counts.rejected:
        notes.append(f"{counts.rejected:,} rejected: {folder / manifest.rejected.file} says why")
    notes += source_notes(manifest.source)
    heading = (
        f"{folder}: {counts.images:,} images of {counts.patients:,} patients, {manifest.size} × {manifest.size}"
    )
    return Summary(heading, {str(split): part for split, part in counts.splits.items()}, tuple(notes))


def source_notes(source: Mapping[str, Any]) -> Iterator[str]:
    """Yield what a pack's manifest says of choices made, and of what was left out without a rejection."""
    if source.get("patients"):
        yield f"patients: {source['patients']}"
    meant = {kind: source.get(kind, "unknown") for kind in ("blank", "uncertain")}
    if read_as := [f"{kind} as {meaning}" for kind, meaning in meant.items() if meaning != "unknown"]:
        yield f"labels: {', '.join(read_as)}"
    if source.get("readers"):
        yield f"several readers: {source['readers']} must say yes"
    if left_out := source.get("images_of_other_views"):
        listed = ", ".join(f"{view} {count:,}" for view, count in left_out.items())
        yield f"{sum(left_out.values()):,} images of other views are left out: {listed}"
    if missing := source.get("rows_without_file"):
        yield f"{missing:,} of {source['rows']:,} rows of the label table have no file in the folder"
    if unknown_ages := source.get("unknown_ages"):
        yield f"{unknown_ages:,} ages are unknown or impossible"
    for kind, is_as in (("sexes", "F, M, female or male"), ("views", "PA, AP or lateral")):
        if unknown := source.get(f"unknown_{kind}"):
            yield f"{unknown:,} {kind} are unknown: they are blank, or not written as {is_as}"


def _of_table(table: LabelTable, separator: str | None, encoding: str | None) -> Summary:
    proposal = propose(table, separator, encoding)
    if isinstance(proposal.source, TableSource):
        read = read_records(table, proposal.source.layout)
        records, rejections, findings = read.records, read.rejections, read.findings
    else:
        of_nih, rejected = read_nih_records(table, {})
        records, rejections, findings = tuple(of_nih), tuple(rejected), PATHOLOGIES
    notes = [f"{len(rejections):,} can't be used: {counted_reasons(rejections)}"] if rejections else []
    patients = len({record.patient for record in records})
    labels, clear = [record.labels for record in records], no_findings(records, findings)
    part = SplitCounts(images=len(records), patients=patients, labels=count_labels(findings, labels, clear))
    return Summary(
        f"{table.path}: {len(records):,} images of {patients:,} patients",
        {"all": part},
        (*notes, *proposal.notes),
        proposal.columns,
        proposal.command,
    )


def render(summary: Summary) -> RenderableType:
    """Return the counts and the chart for a terminal."""
    heading = Text(summary.heading, style="bold")
    notes = [Text(note) for note in summary.notes]
    columns: list[RenderableType] = [Text(), _columns_table(summary.columns)] if summary.columns else []
    counts = _counts_table(summary.parts), Text(), _label_bars(summary.positives())
    return Group(heading, *notes, *columns, Text(), *counts)


def _columns_table(columns: Mapping[str, str]) -> Table:
    table = Table(title="columns", title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, role in columns.items():
        table.add_row(Text(name), Text(role or "not read"))
    return table


def _counts_table(parts: Mapping[str, SplitCounts]) -> Table:
    table = Table(title="positive / negative (unknown)", title_justify="left", box=None, padding=(0, 2, 0, 0))
    table.add_column("")
    for name in parts:
        table.add_column(name, justify="right")
    table.add_row("images", *(f"{part.images:,}" for part in parts.values()))
    table.add_row("patients", *(f"{part.patients:,}" for part in parts.values()))
    for label in next(iter(parts.values())).labels:
        table.add_row(title(label), *(_cell(part.labels[label]) for part in parts.values()))
    return table


def _cell(counts: LabelCounts) -> str:
    unknown = f" ({counts.unknown:,})" if counts.unknown else ""
    return f"{counts.positive:,} / {counts.negative:,}{unknown}"


def _label_bars(positives: Mapping[str, int]) -> Table:
    table = Table(
        title="images per label", title_justify="left", box=None, show_header=False, padding=(0, 2, 0, 0)
    )
    table.add_column()
    table.add_column(justify="right")
    table.add_column()
    highest = max([*positives.values(), 1])
    for label, images in positives.items():
        table.add_row(title(label), f"{images:,}", Bar(highest, 0, images, width=40))
    return table


def save_label_chart(summary: Summary, path: Path) -> None:
    """Draw the number of images of each label, the most frequent first; the suffix, ``.png`` or ``.svg``, decides.

    Raises:
        UserError: the suffix is another, or a folder is there.
    """
    check_output(path, CHARTS)
    from matplotlib.figure import Figure

    positives = summary.positives()
    labels: Sequence[str] = [title(label) for label in positives]
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(labels, list(positives.values()), color="#4c72b0")
    axes.bar_label(bars, labels=[f"{images:,}" for images in positives.values()], padding=3)
    axes.invert_yaxis()
    axes.set_xlabel("images")
    axes.set_title(summary.heading, fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.12)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
