"""A class that a user names on the command line, and its arguments as text."""

import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_type_hints

from clr_hpc.config.base import shown
from clr_hpc.config.yaml_file import YamlError, parse_yaml
from clr_hpc.data.source import SourceError

Pairs = Sequence[tuple[str, str]]


def find_class(name: str) -> Any:
    """Import ``module:Class`` or ``module.Class``; modules of the working folder are found, too.

    Raises:
        SourceError: it can't be imported.
    """
    module, colon, attribute = name.rpartition(":" if ":" in name else ".")
    if not colon or not module:
        raise SourceError(f"{shown(name)} names no class; give it with its module, such as my_module:MySource")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        return getattr(import_module(module), attribute)
    except Exception as error:
        raise SourceError(
            f"{name} can't be imported: {type(error).__name__}: {error}; start the command in the folder of the "
            "module, or install its package"
        ) from error


def make(kind: Any, name: str, arguments: Pairs) -> Any:
    """Call a class with arguments whose values are read as YAML, and as paths where it wants paths.

    Raises:
        SourceError: it doesn't take them, or raises an error of its own.
    """
    try:
        hints = get_type_hints(kind)
    except (TypeError, NameError):
        hints = {}
    values = {key: _value(key, text, hints.get(key)) for key, text in arguments}
    try:
        return kind(**values)
    except Exception as error:
        given = ", ".join(f"{key}={shown(value)}" for key, value in values.items())
        raise SourceError(
            f"{name}({given}): {type(error).__name__}: {error}; give its arguments as --arg NAME=VALUE"
        ) from error


def without_folders(arguments: Pairs) -> dict[str, str]:
    """Return arguments without the folders of paths, which may differ where the same pack is made again."""
    return {key: Path(text).name if "/" in text or "\\" in text else text for key, text in sorted(arguments)}


def _value(key: str, text: str, hint: Any) -> Any:
    if hint is Path or Path in get_args(hint):
        return Path(text)
    if hint is str:
        return text
    try:
        return parse_yaml(text)
    except YamlError as error:
        raise SourceError(f"--arg {key}={shown(text)}: {error}; quote it for the shell and for YAML") from error
