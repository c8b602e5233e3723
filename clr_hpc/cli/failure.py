"""What a command prints of an exception: what a user can set right, or where our own mistake is written down."""

import platform
import shlex
import sys
import tempfile
import zlib
from traceback import format_exception

from pydantic import ValidationError

from clr_hpc import __version__
from clr_hpc.config.base import UserError, explain
from clr_hpc.config.given_file import mistake_of


def in_words(error: Exception) -> str | None:
    """Return the line of an error that a user can set right; None for any other."""
    if isinstance(error, ValidationError):
        return explain(error)
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, OSError | UnicodeError | EOFError | zlib.error):
        names = [getattr(error, name, None) for name in ("filename", "filename2")]
        given = " and ".join(str(name) for name in names if name is not None)
        return f"{given}: {mistake_of(error)}" if given else str(mistake_of(error))
    if isinstance(error, ValueError):
        return str(error) or type(error).__name__
    return None


def write_down(error: Exception) -> str:
    """Write a traceback to a file, and return the line that says where it is and how to report it."""
    versions = f"clr_hpc {__version__}, Python {platform.python_version()}, {platform.platform()}"
    text = f"{shlex.join(sys.argv)}\n{versions}\n\n{''.join(format_exception(error))}"
    first = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    told = f"internal error, a mistake in clr-hpc: {first}"
    try:
        with tempfile.NamedTemporaryFile(prefix="clr-hpc-", suffix=".txt", delete=False) as file:
            file.write(text.encode(errors="backslashreplace"))
    except OSError:  # no disk is left
        return f"{told}; report it to its authors with what follows:\n{text}"
    return f"{told}; report it to its authors with {file.name}, which has the traceback and no data"
