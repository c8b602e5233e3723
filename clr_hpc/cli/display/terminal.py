"""The terminal: one place where what others wrote (errors, paths, names) becomes text, and never markup."""

import io
from functools import cache
from typing import Any

from rich.console import Console
from rich.control import Control
from rich.text import Text

from clr_hpc.cli.display import log_file

PIPE_WIDTH = 200
"""Columns of tables in a file or a pipe, which have no width that lines should be cut to."""


class LoggedConsole(Console):
    """A console whose lines also go to the open log; what is drawn over others does not."""

    def print(self, *objects: Any, **settings: Any) -> None:
        """Print, and note it."""
        super().print(*objects, **settings)
        if log_file.is_open() and not any(isinstance(each, Control) for each in objects):
            shown = io.StringIO()
            plainly: dict[str, Any] = {"markup": False, "highlight": False, "emoji": False, "no_color": True}
            Console(file=shown, width=PIPE_WIDTH, **plainly).print(*objects, **settings)
            log_file.note(shown.getvalue())


def terminal(stderr: bool = False, is_wide: bool = False) -> Console:
    """Return a console that shows strings as they are: ``[b]`` is no style, ``:bug:`` no picture.

    Colours are those of ``Text``; NO_COLOR turns them off.

    Args:
        stderr: instead of stdout.
        is_wide: whether tables may be wide where it is no terminal.
    """
    settings: dict[str, Any] = {"stderr": stderr, "markup": False, "highlight": False, "emoji": False}
    console = LoggedConsole(**settings)
    return LoggedConsole(width=PIPE_WIDTH, **settings) if is_wide and not console.is_terminal else console


def plain(text: str, style: str = "") -> Text:
    """Return a text of which nothing commands the terminal: escape characters are shown as ``␛``."""
    return Text(text.translate(_visible()), style)


def say(text: str) -> None:
    """Print a line to stdout, as long as it is."""
    terminal().print(plain(text), soft_wrap=True)


def complain(text: str, style: str = "red") -> None:
    """Print a line to stderr, as long as it is."""
    terminal(stderr=True).print(plain(text, style), soft_wrap=True)


@cache
def _visible() -> dict[int, int]:
    """Return the picture of each control character but tab and line feed."""
    return {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {0x7F: 0x2421, 0x9B: 0x241B}
