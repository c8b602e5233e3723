"""What a pack or a label table holds, as text for the terminal and as a chart of how often each label is given."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from clr_hpc.config.given_file import check_output
from clr_hpc.config.pathologies import PATHOLOGIES, title
from clr_hpc.data.manifest import LabelCounts, Manifest, SplitCounts, count_labels, read_manifest
from clr_hpc.data.source import SourceError
from clr_hpc.data.sources.nih import FINDINGS_COLUMN, read_nih_records
from clr_hpc.data.sources.table import find_label_columns, read_labels
from clr_hpc.data.tables.label_table import LabelTable, read_label_table

CHARTS = (".png", ".svg")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a pack or a label table holds."""

    heading: str
    parts: Mapping[str, SplitCounts]
    """The splits of a pack; of a table one part, ``all``."""
    notes: tuple[str, ...]

    def positives(self) -> dict[str, int]:
        """Return images per label, ``no_finding`` included, the most frequent first."""
        sums: Counter[str] = Counter()
        for part in self.parts.values():
            sums.update({name: counts.positive for name, counts in part.labels.items()})
        return dict(sorted(sums.items(), key=lambda item: (-item[1], item[0])))


def summarise(path: Path) -> Summary:
    """Count a pack, by its manifest, or a label table: NIH's, or one with a column per pathology.

    Raises:
        PackError: ``path`` is a folder, but no pack or a damaged one.
        SourceError: ``path`` is a table without labels.
    """
    if path.suffix in (".yaml", ".yml") and path.is_file():
        raise SourceError(f"{path} is a study file, not a label table; name a pack or a table")
    return _of_pack(path, read_manifest(path)) if path.is_dir() else _of_table(read_label_table(path))


def _of_pack(folder: Path, manifest: Manifest) -> Summary:
    counts = manifest.counts
    notes = [
        f"source {manifest.source['kind']}, {manifest.split.kind} split, {len(manifest.shards)} shards, "
        f"{sum(entry.bytes for entry in manifest.files) / 1e6:,.0f} MB, checksum {manifest.checksum[:12]}"
    ]
    if counts.rejected:
        notes.append(f"{counts.rejected:,} rejected: {folder / manifest.rejected.file} says why")
    if missing := manifest.source.get("rows_without_file"):
        notes.append(
            f"{missing:,} of {manifest.source['rows']:,} rows of the label table have no file in the folder"
        )
    if unknown_ages := manifest.source.get("unknown_ages"):
        notes.append(f"{unknown_ages:,} ages are unknown or impossible")
    heading = (
        f"{folder}: {counts.images:,} images of {counts.patients:,} patients, {manifest.size} × {manifest.size}"
    )
    return Summary(heading, {str(split): part for split, part in counts.splits.items()}, tuple(notes))


def _of_table(table: LabelTable) -> Summary:
    if table.find_column(FINDINGS_COLUMN) is not None:
        records, rejections = read_nih_records(table, {})
        labels = [record.labels for record in records]
        patients = len({record.patient for record in records})
        heading = f"{table.path}: {len(labels):,} images of {patients:,} patients"
        notes = (f"{len(rejections):,} rows can't be used",) if rejections else ()
    else:
        columns = find_label_columns(table, {})
        labels = [read_labels(table, row, columns) for row in table.rows]
        patients = len(labels)
        heading, notes = f"{table.path}: {len(labels):,} rows", ()
    part = SplitCounts(images=len(labels), patients=patients, labels=count_labels(PATHOLOGIES, labels))
    return Summary(heading, {"all": part}, notes)


def render(summary: Summary) -> RenderableType:
    """Return the counts and the chart for a terminal."""
    heading = Text(summary.heading, style="bold")
    notes = [Text(note) for note in summary.notes]
    return Group(heading, *notes, Text(), _counts_table(summary.parts), Text(), _label_bars(summary.positives()))


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
