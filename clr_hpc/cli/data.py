"""``clr-hpc pack``: a command for each kind of source.

Imports that cost time stand inside the commands, as in ``clr_hpc.cli.app``.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

if TYPE_CHECKING:
    from clr_hpc.data.sources.base import ImageSource
    from clr_hpc.data.splits import Split

pack_app = typer.Typer(help="Read a source once into a pack.", no_args_is_help=True)

Output = Annotated[Path, typer.Option(help="Folder of the new pack.")]
Size = Annotated[int, typer.Option(min=16, max=4096, help="Pixels a side.")]
Workers = Annotated[int | None, typer.Option(min=1, help="Processes; all cores if not given.")]
Subset = Annotated[bool, typer.Option("--subset", help="The folder holds a part of the images only.")]
Strict = Annotated[bool, typer.Option("--strict", help="Fail when anything is rejected.")]
SplitSeed = Annotated[int, typer.Option(help="Seed of the split by patient.")]
ValidationFraction = Annotated[float, typer.Option(min=0, max=0.9, help="Share of the patients for validation.")]
TestFraction = Annotated[float, typer.Option(min=0, max=0.9, help="Share of the patients for testing.")]


@pack_app.command("nih")
def pack_nih(
    images: Annotated[Path, typer.Option(help="Folder with NIH's PNG files, nested ones too.")],
    labels: Annotated[Path, typer.Option(help="NIH's label table, either edition, .csv or .csv.gz.")],
    output: Output,
    size: Size = 256,
    train_val_list: Annotated[Path | None, typer.Option(help="NIH's train_val_list.txt.")] = None,
    test_list: Annotated[Path | None, typer.Option(help="NIH's test_list.txt.")] = None,
    boxes: Annotated[Path | None, typer.Option(help="NIH's BBox_List_2017.csv.")] = None,
    subset: Subset = False,
    split_seed: SplitSeed = 0,
    validation_fraction: ValidationFraction = 0.1,
    test_fraction: TestFraction = 0.2,
    workers: Workers = None,
    strict: Strict = False,
) -> None:
    """Pack NIH ChestX-ray14.

    With both of NIH's lists their test images stay test, and validation patients are drawn from train_val; without
    them patients are drawn for all three.
    """
    from clr_hpc.data.sources.nih import NihSource

    source = NihSource(images, labels, train_val_list, test_list, boxes, subset)
    split = SplitChoice(train_val_list is not None, split_seed, validation_fraction, test_fraction)
    _build(source, output, size, split, workers, strict)


@pack_app.command("table")
def pack_table(
    images: Annotated[Path, typer.Option(help="Folder that the table's image names are in.")],
    labels: Annotated[Path, typer.Option(help="CSV with a row an image, .gz or not.")],
    output: Output,
    image_column: Annotated[str, typer.Option(help="Column with the image's name or path.")],
    size: Size = 256,
    patient_column: Annotated[str | None, typer.Option(help="Column that names the patient.")] = None,
    label_columns: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            help="A column and its pathology; repeat. Columns named as a pathology need none.",
            metavar="COLUMN=PATHOLOGY",
        ),
    ] = None,
    view_column: Annotated[str | None, typer.Option(help="Column with PA, AP, ...")] = None,
    age_column: Annotated[str | None, typer.Option(help="Column with the age in years.")] = None,
    sex_column: Annotated[str | None, typer.Option(help="Column with F or M.")] = None,
    split_column: Annotated[
        str | None, typer.Option(help="Column with train, validation, test, train_val.")
    ] = None,
    subset: Subset = False,
    split_seed: SplitSeed = 0,
    validation_fraction: ValidationFraction = 0.1,
    test_fraction: TestFraction = 0.2,
    workers: Workers = None,
    strict: Strict = False,
) -> None:
    """Pack any CSV with its folder of images."""
    from clr_hpc.data.sources.table import TableSource

    named = dict(_column_and_pathology(given) for given in label_columns or ())
    source = TableSource(
        images,
        labels,
        image_column,
        patient_column,
        named,
        view_column,
        age_column,
        sex_column,
        split_column,
        subset,
    )
    split = SplitChoice(split_column is not None, split_seed, validation_fraction, test_fraction)
    _build(source, output, size, split, workers, strict)


def _column_and_pathology(given: str) -> tuple[str, str]:
    column, equals, pathology = given.rpartition("=")
    if not equals:
        raise typer.BadParameter(f"--label {given}: must be COLUMN=PATHOLOGY, such as --label 'Lung mass=mass'")
    return column, pathology


@pack_app.command("phantom")
def pack_phantom(
    output: Output,
    images: Annotated[int, typer.Option(min=1, help="How many to draw.")] = 3000,
    seed: Annotated[int, typer.Option(help="Seed of patients, findings and exposure.")] = 0,
    size: Size = 64,
    split_seed: SplitSeed = 0,
    validation_fraction: ValidationFraction = 0.2,
    test_fraction: TestFraction = 0.2,
    workers: Workers = None,
) -> None:
    """Draw the built-in phantom, which needs no download."""
    from clr_hpc.data.sources.phantom import PhantomSource

    split = SplitChoice(False, split_seed, validation_fraction, test_fraction)
    _build(PhantomSource(images=images, seed=seed), output, size, split, workers, strict=False)


class SplitChoice(NamedTuple):
    """The options about splits; which of them count depends on whether the publisher made a split."""

    official: bool
    seed: int
    validation_fraction: float
    test_fraction: float

    def spec(self) -> "Split":
        """Return them as data; raises ``ValueError`` where the fractions leave nothing to train on."""
        from clr_hpc.data.splits import OfficialSplit, SeededSplit

        if self.official:
            return OfficialSplit(seed=self.seed, validation_fraction=self.validation_fraction)
        return SeededSplit(
            seed=self.seed, validation_fraction=self.validation_fraction, test_fraction=self.test_fraction
        )


def _build(
    source: "ImageSource", output: Path, size: int, split: SplitChoice, workers: int | None, strict: bool
) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from clr_hpc.data.build import build_pack
    from clr_hpc.data.shards import PackProgress

    columns = (TextColumn("packing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("packing")

        def report(progress: PackProgress) -> None:
            if progress.resumed and bar.tasks[task].completed == 0:
                bar.console.print(f"resumed: {progress.resumed:,} images were read before")
            bar.update(task, completed=progress.done, total=progress.total)

        manifest = build_pack(source, output, size, split.spec(), workers, strict, report)
    counts = manifest.counts
    typer.echo(f"{output}: {counts.images:,} images of {counts.patients:,} patients at {size} × {size}")
    if counts.rejected:
        typer.echo(f"{counts.rejected:,} rejected: {output / manifest.rejected.file} says why")
