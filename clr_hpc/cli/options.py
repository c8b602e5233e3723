"""Arguments that several commands share, and how a command that trains gets its options and its place."""

from collections.abc import Callable, Set
from dataclasses import fields
from inspect import Parameter, Signature, cleandoc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer
from typer.core import TyperCommand

from clr_hpc.places.options import SearchOptions, of_a_place

if TYPE_CHECKING:
    from clr_hpc.places.base import Place

FORMER_NAMES = {"--rates": "--throughput"}


class Command(TyperCommand):
    """A command that takes options by their former names, too, and whose help has the terminal's line breaks."""

    def __init__(self, *arguments: Any, help: str | None = None, **more: Any) -> None:
        """Join the lines of each paragraph of the docstring, which typer would break where the source does."""
        paragraphs = cleandoc(help or "").split("\n\n")
        super().__init__(*arguments, help="\n\n".join(" ".join(one.split()) for one in paragraphs), **more)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the present names in place of former ones."""
        split = [arg.partition("=") for arg in args]
        return super().parse_args(
            ctx, [FORMER_NAMES.get(name, name) + equals + value for name, equals, value in split]
        )


StudyFile = Annotated[
    Path, typer.Argument(metavar="STUDY", help="Study file, or a name that clr-hpc studies lists.")
]
StudyOrFolder = Annotated[Path, typer.Argument(metavar="STUDY", help="Study file or name, or a study's folder.")]
StudyOrBundle = Annotated[
    Path, typer.Argument(metavar="STUDY", help="Study file, a study's folder, or a bundle of 'clr-hpc export'.")
]
ResultsOfFile = Annotated[Path | None, typer.Option(help="Folder of all studies' results (default: results).")]
Results = Annotated[Path, typer.Option(help="Folder of all studies' results.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", help="Override of a key of the study: --set batch_size=8", metavar="KEY=VALUE"),
]


def on_a_place(
    options: type[SearchOptions], check: Callable[["Place", Any], object] = lambda *_: None
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator for ``command(study_file, options, place)``, which typer sees with all of the options.

    Args:
        options: the dataclass whose fields become parameters, and of which the command gets an instance.
        check: called first with place and options; raises ``UserError`` where the place can't do this at all.
    """
    hints = get_type_hints(options, include_extras=True)
    taken = [Parameter("ctx", Parameter.KEYWORD_ONLY, annotation=typer.Context)]
    taken.append(Parameter("study_file", Parameter.KEYWORD_ONLY, annotation=StudyFile))
    for field in fields(options):
        taken.append(
            Parameter(field.name, Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        )

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        def command(ctx: typer.Context, study_file: Path, **values: Any) -> None:
            from clr_hpc.places.base import find_place

            given = options(**values)
            place = find_place(given.on)
            check(place, given)
            _reject_options_of_others(ctx, place, of_a_place(options))
            place.check(given)
            function(study_file, given, place)

        command.__name__, command.__doc__ = function.__name__, function.__doc__
        command.__signature__ = Signature(taken)  # type: ignore[attr-defined]
        command.__annotations__ = {one.name: one.annotation for one in taken}
        return command

    return decorate


def _reject_options_of_others(ctx: typer.Context, place: "Place", names: Set[str]) -> None:
    """Look for an option on the command line that the place does not take.

    Raises:
        UserError: there is one.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.places.base import all_places

    for option in ctx.command.params:
        name = str(option.name)
        source = ctx.get_parameter_source(name)
        if name not in names - place.options or source is None or source.name != "COMMANDLINE":
            continue
        value = ctx.params[name]
        given = option.opts[0] if value is True else f"{option.opts[0]} {value}"
        others = " and ".join(f"--on {other.name}" for other in all_places() if name in other.options)
        remedy = place.instead.get(name, "leave it out")
        raise UserError(f"{given} is for {others}; --on {place.name} does not take it: {remedy}")
