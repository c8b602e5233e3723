"""What commands share that take images, from files or a pack, and a study's models."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from clr_hpc.data.pack import Pack
    from clr_hpc.data.splits import SplitName
    from clr_hpc.inference.images import Images

MOST_SHOWN = 20
"""Images that can't be read; the table has all."""
ImagesGiven = Annotated[
    list[str] | None, typer.Argument(help="Image files, folders of images, or patterns in quotes.")
]
PackGiven = Annotated[Path | None, typer.Option(help="Pack to use in place of image files.")]
SplitGiven = Annotated[
    str | None, typer.Option(help="Split of the pack: train, validation or test (default: all).")
]
DeviceGiven = Annotated[str | None, typer.Option(help="cpu or cuda (default: a GPU where there is one).")]
BitsGiven = Annotated[
    str | None,
    typer.Option(help="Bits of 16-bit samples whose file states none, 8 to 16, or 'image', as for pack."),
]


def checked_split(images: list[str] | None, pack: Path | None, split: str | None) -> "SplitName | None":
    """Return the split that is asked for, where images and pack are given as they should be.

    Raises:
        UserError: both or none of the two, or an unknown split.
    """
    from clr_hpc.config.base import UserError, unknown
    from clr_hpc.data.splits import SPLITS

    if (pack is None) == (not images):
        raise UserError("name image files or folders, or a pack with --pack; one of the two")
    if split is not None and pack is None:
        raise UserError(f"--split {split} needs --pack")
    found = next((each for each in SPLITS if each == split), None)
    if split is not None and found is None:
        raise UserError(unknown("split", split, list(SPLITS)))
    return found


def checked_device(device: str | None) -> str:
    """Return the device to compute on.

    Raises:
        UserError: torch can't compute there.
    """
    import torch

    from clr_hpc.config.base import UserError

    if device is None:
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"--device {device}: torch can't compute on it here; take cpu, or leave it out") from error
    return device


def count_of(given: "list[Path] | Pack", split: "SplitName | None") -> int:
    """Return the number of files, or of a pack's images in a split; None: in all of them."""
    if isinstance(given, list):
        return len(given)
    return len(given.index if split is None else given.rows_of(split))


def with_bar(images: "Iterable[Images]", doing: str, total: int) -> "Iterator[Images]":
    """Yield images with a progress bar on stderr, which moves on when those that were taken are done.

    Args:
        images: some hundred at a time.
        doing: what is done with them, such as ``scoring``.
        total: number of images.
    """
    with progress_bar(doing, total) as advance:
        for part in images:
            yield part
            advance(len(part.names) + len(part.rejected))


@contextmanager
def progress_bar(doing: str, total: int | None) -> "Iterator[Callable[[int], None]]":
    """Show a progress bar on stderr, and give what moves it on by a number of images; for ``with``."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from clr_hpc.cli.display.terminal import terminal

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda images: bar.advance(task, images)


def complain_of_rejected(rejected: "list[tuple[str, str]]", what: str) -> None:
    """Name the images that could not be read, with the reasons, and exit with 1 if there are any.

    Args:
        rejected: name and reason.
        what: was not done with them, such as ``scored``.
    """
    from clr_hpc.cli.display.terminal import complain
    from clr_hpc.config.base import counted

    for name, reason in rejected[:MOST_SHOWN]:
        complain(f"not {what}: {name}: {reason}")
    if rejected:
        more = len(rejected) - MOST_SHOWN
        are = f"{counted(len(rejected), 'image')} {'is' if len(rejected) == 1 else 'are'}"
        complain(f"{are} not {what}{f', {more:,} more than shown' if more > 0 else ''}")
        raise typer.Exit(1)
