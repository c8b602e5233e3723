"""The page of all commands, written from the same declarations as ``--help``."""

from collections.abc import Iterator
from typing import Any

import typer

from clr_hpc.cli.app import app

OTHER = "Arguments and options"
"""Title of the options that stand in no panel of the help."""


def commands_page() -> str:
    """Return each command with its usage, arguments and options, under the headings of ``clr-hpc --help``."""
    root = typer.main.get_command(app)
    context = _context(root, "clr-hpc", None)
    lines = ["# Commands", "", root.help, "", *_usage(root, context), *_tables(root, context)]
    panels: dict[str, list[Any]] = {}
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        panels.setdefault(str(command.rich_help_panel), []).append(_context(command, name, context))
    for panel, contexts in panels.items():
        lines += [f"## {panel}", ""]
        for each in contexts:
            lines += _sections(each)
    return "\n".join(lines) + "\n"


def _context(command: Any, name: str, parent: Any) -> Any:
    return command.context_class(command, info_name=name, parent=parent)


def _sections(context: Any) -> Iterator[str]:
    """Yield the lines of a command, and of the commands that it groups."""
    command = context.command
    yield from (f"### {context.command_path}", "", command.help or "", "")
    if hasattr(command, "list_commands"):
        for name in command.list_commands(context):
            yield from _sections(_context(command.get_command(context, name), name, context))
    else:
        yield from _usage(command, context)
        yield from _tables(command, context)


def _usage(command: Any, context: Any) -> list[str]:
    return ["```text", command.get_usage(context).removeprefix("Usage: "), "```", ""]


def _tables(command: Any, context: Any) -> Iterator[str]:
    """Yield a table of each panel of a command's options."""
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.params:
        record = parameter.get_help_record(context)
        if record is not None and not getattr(parameter, "hidden", False):
            panels.setdefault(parameter.rich_help_panel or OTHER, []).append(record)
    for panel, records in panels.items():
        yield from (f"| {panel} | |", "|---|---|")
        for names, text in records:
            yield f"| `{_cell(names)}` | {_cell(text)} |"
        yield ""


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
