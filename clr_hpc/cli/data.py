"""``clr-hpc pack``: one command per source, made of what its class says of itself.

Imports that cost time stand inside the functions, as in ``clr_hpc.cli.app``.
"""

from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from enum import StrEnum
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from typer.core import TyperGroup

from clr_hpc.cli.options import Command

ANY_IMAGES, COLLECTIONS = "Your images", "Public collections"
SOURCE, PACK = "Source", "Pack"
"""Panels of the help."""

if TYPE_CHECKING:
    from clr_hpc.data.source import ImageSource, Option


class _Commands(TyperGroup):
    """The sources, each imported when its command is used or listed."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return the names of all sources."""
        from clr_hpc.data.sources import source_names

        return source_names()

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return the command of a source, None for another name."""
        from clr_hpc.data.sources import source_class

        return _command(cmd_name, source_class(cmd_name)) if cmd_name in self.list_commands(ctx) else None


pack_app = typer.Typer(
    cls=_Commands, help="Convert a data set into a pack, which training reads.", no_args_is_help=True
)


def _command(name: str, kind: "type[ImageSource]") -> Any:
    hints = get_type_hints(kind, include_extras=True)
    ours = sorted(fields(kind), key=lambda field: _place(field, kind))  # type: ignore[arg-type]
    own = {field.name: _parameter(field, hints[field.name]) for field in ours}
    defaults = {"size": kind.default_size, "validation_fraction": kind.default_validation_fraction}
    shared = [
        parameter.replace(default=defaults.get(parameter.name, parameter.default))
        for parameter in list(signature(_pack).parameters.values())[1:]
    ]

    def run(**values: Any) -> None:
        given = {name: _value(values.pop(name), hints[name]) for name in own}
        _pack(kind(**given), **values)

    run.__doc__ = kind.__doc__
    run.__signature__ = signature(run).replace(parameters=[*own.values(), *shared])  # type: ignore[attr-defined]
    app = typer.Typer(add_completion=False)
    app.command(name, cls=Command, rich_help_panel=COLLECTIONS if kind.is_collection else ANY_IMAGES)(run)
    return typer.main.get_command(app)


def _place(field: "Field[Any]", kind: "type[ImageSource]") -> tuple[bool, bool]:
    """Return where an option stands in the help: required ones first, those that many sources share last."""
    return field.default is not MISSING, field.name not in kind.__annotations__


def _parameter(field: "Field[Any]", hint: Any) -> Parameter:
    """Return the option of a source's field, whose type is annotated with a ``clr_hpc.data.source.Option``."""
    kind, option = get_args(hint)
    flag = option.flag or (f"--{field.name.replace('_', '-')}" if kind is bool else None)
    default = Parameter.empty if field.default is MISSING else field.default
    if get_origin(kind) is Mapping or (item := _repeated(kind)) is not None:
        taken: Any = str if get_origin(kind) is Mapping or get_origin(item) is tuple else item
        kind = list[taken]
        if default is not Parameter.empty:
            kind, default = kind | None, None
    elif words := _words(kind):
        choice: Any = StrEnum(field.name, words)  # type: ignore[misc]
        kind = choice if get_origin(kind) is Literal else choice | None
    names = [] if flag is None else [flag]
    metavar = option.metavar or _metavar(field.name, kind)
    about = (
        typer.Argument(help=option.help, metavar=option.metavar)
        if option.is_argument
        else typer.Option(*names, help=option.help, metavar=metavar, min=option.minimum, rich_help_panel=SOURCE)
    )
    return Parameter(field.name, Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, about])


def _metavar(name: str, kind: Any) -> str | None:
    """Return what stands for a value in the help; None leaves it to typer."""
    words = {"column": "COLUMN", "columns": "COLUMN", "views": "VIEW"}
    found = words.get(name.rpartition("_")[2])
    return found or ("FILE" if Path in (kind, *get_args(kind)) else None)


def _repeated(kind: Any) -> Any:
    """Return the type of one value where a field takes several, as ``tuple[Path, ...]`` does; else None."""
    several = next((one for one in (kind, *get_args(kind)) if get_origin(one) is tuple), None)
    return None if several is None else get_args(several)[0]


def _words(kind: Any) -> dict[str, str]:
    """Return the words that a field takes, if it takes some of a few words, or none of them."""
    literal = next((one for one in (kind, *get_args(kind)) if get_origin(one) is Literal), None)
    return {word: word for word in get_args(literal)}


def _value(given: Any, hint: Any) -> Any:
    """Return what a source's field gets for what was typed."""
    kind, option = get_args(hint)
    if get_origin(kind) is Mapping:
        return dict(_pair(text, option) for text in given or ())
    if (item := _repeated(kind)) is not None:
        pairs = get_origin(item) is tuple
        return tuple(_pair(text, option) if pairs else text for text in given or ())
    return str(given) if isinstance(given, StrEnum) else given


def _pair(text: str, option: "Option") -> tuple[str, str]:
    key, equals, value = text.rpartition("=")
    if not equals:
        raise typer.BadParameter(f"{option.flag} {text}: must be {option.metavar}")
    return key, value


def _of_pack(*names: str, **more: Any) -> Any:
    return typer.Option(*names, rich_help_panel=PACK, **more)


def _pack(
    source: "ImageSource",
    *,
    output: Annotated[Path, _of_pack(help="Folder of the new pack.")],
    size: Annotated[int, _of_pack(min=16, max=4096, help="Pixels a side.")],
    split_seed: Annotated[int, _of_pack(help="Seed of the split by patient.")] = 0,
    validation_fraction: Annotated[float, _of_pack(min=0, max=0.9, help="Share of the patients for validation.")],
    test_fraction: Annotated[float, _of_pack(min=0, max=0.9, help="Share of the patients for testing.")] = 0.2,
    workers: Annotated[int | None, _of_pack(min=1, help="Number of processes (default: one per core).")] = None,
    strict: Annotated[bool, _of_pack("--strict", help="Fail when anything is rejected.")] = False,
) -> None:
    """Build a pack with a progress bar, and say what it holds."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from clr_hpc.cli.display.terminal import terminal
    from clr_hpc.config.base import counted
    from clr_hpc.data.build import build_pack
    from clr_hpc.data.inspect import source_notes
    from clr_hpc.data.shards import PackProgress
    from clr_hpc.data.splits import OfficialSplit, SeededSplit

    split: OfficialSplit | SeededSplit = (
        OfficialSplit(seed=split_seed, validation_fraction=validation_fraction)
        if source.has_official_split
        else SeededSplit(seed=split_seed, validation_fraction=validation_fraction, test_fraction=test_fraction)
    )
    columns = (TextColumn("packing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=terminal(stderr=True), transient=True) as bar:
        task = bar.add_task("packing")

        def report(progress: PackProgress) -> None:
            if progress.resumed and bar.tasks[task].completed == 0:
                bar.console.print(f"resumed: {progress.resumed:,} images were read before")
            bar.update(task, completed=progress.done, total=progress.total)

        manifest = build_pack(source, output, size, split, workers, strict, report)
    counts = manifest.counts
    typer.echo(
        f"{output}: {counted(counts.images, 'image')} of {counted(counts.patients, 'patient')} at {size} × {size}"
    )
    labels = [split.labels for split in counts.splits.values()]
    known = [name for name in manifest.findings if any(of[name].positive + of[name].negative for of in labels)]
    if not known:
        typer.echo("no labels: all are unknown, so nothing can be trained or evaluated on this pack")
    elif len(known) < len(manifest.findings):
        typer.echo(f"labels of {', '.join(known)}; the other findings are unknown for all images")
    for note in source_notes(manifest.source):
        typer.echo(note)
    if counts.rejected:
        typer.echo(f"{counts.rejected:,} rejected: {output / manifest.rejected.file} says why")
