"""YAML as people mean it: scalars of YAML 1.2, each key once, and nothing that grows far beyond its file.

PyYAML reads YAML 1.1, in which ``yes`` is true, ``010`` is 8 and ``1:30`` is 90, and takes the last where a key is
there twice. Its parser in C takes a second for what its parser in Python takes twenty for.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import yaml

from clr_hpc.config.base import UserError, shortened, shown
from clr_hpc.config.given_file import as_text, read_given

LARGEST_FILE = 10_000_000
"""Bytes."""
MOST_VALUES = 1_000_000
"""In a document, each alias counted as what it stands for: 600 bytes can stand for 10⁹ values."""
DEEPEST = 50
"""Lists and mappings inside each other."""
_C_OR_PYTHON: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class YamlError(UserError):
    """A text can't be read; the message gives the place, the rule and the remedy, without the file's name."""


def read_yaml(file: Path) -> Any:
    """Return what a YAML file holds.

    Raises:
        YamlError: it is not YAML, or holds what people don't mean.
        FileError: it can't be read.
    """
    return parse_yaml(as_text(read_given(file, LARGEST_FILE)))


def parse_yaml(text: str) -> Any:
    """Return what a YAML text holds.

    Raises:
        YamlError: as ``read_yaml`` does.
    """
    try:
        audit = _Audit()
        for event in yaml.parse(text, Loader=_Loader):
            audit.take(event)
        return yaml.load(text, Loader=_Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise YamlError(f"not YAML: {place}{shortened(str(error.problem))}") from None
    except UserError:
        raise
    except Exception as error:  # PyYAML raises other kinds, too, where a text is damaged
        raise YamlError(f"not YAML: {shortened(str(error))}") from None


def to_yaml(values: Any) -> str:
    """Return values as YAML that says the same in versions 1.1 and 1.2."""
    text: str = yaml.dump(values, Dumper=_Dumper, sort_keys=False)
    return text


@dataclass
class _Collection:
    """A list or mapping whose end has not come yet."""

    anchor: str | None
    is_mapping: bool
    values: int = 1
    """In it, itself included; aliases count as what they stand for."""
    entries: int = 0
    lines: dict[str, int] = field(default_factory=dict)
    """Of its keys."""


class _Audit:
    """Looks at the events of a document before anything is made of them."""

    def __init__(self) -> None:
        self._open: list[_Collection] = []
        self._values_of: dict[str, int] = {}

    def take(self, event: yaml.Event) -> None:
        line = 1 if event.start_mark is None else event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            self._open.append(_Collection(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(self._open) > DEEPEST:
                raise YamlError(
                    f"line {line}: more than {DEEPEST} lists and mappings inside each other; use fewer"
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            ended = self._open.pop()
            self._add(ended.values, ended.anchor, line)
        elif isinstance(event, yaml.ScalarEvent):
            self._check_key(event.value, line)
            self._add(1, event.anchor, line)
        elif isinstance(event, yaml.AliasEvent):
            if any(each.anchor == event.anchor for each in self._open):
                raise YamlError(f"line {line}: *{event.anchor} stands inside &{event.anchor}; write it out")
            self._add(self._values_of.get(str(event.anchor), 1), None, line)

    def _check_key(self, text: str, line: int) -> None:
        inside = self._open[-1] if self._open else None
        if inside is None or not inside.is_mapping or inside.entries % 2:
            return
        if text in inside.lines:
            before = inside.lines[text]
            where = f"lines {before} and {line}" if before != line else f"line {line}"
            raise YamlError(f"key {shown(text)} is there twice, in {where}; drop one of them")
        inside.lines[text] = line

    def _add(self, values: int, anchor: str | None, line: int) -> None:
        if anchor is not None:
            self._values_of[anchor] = values
        if self._open:
            self._open[-1].entries += 1
            self._open[-1].values += values
            values = self._open[-1].values
        if values > MOST_VALUES:
            raise YamlError(f"line {line}: more than {MOST_VALUES:,} values, with those of aliases; use fewer")


class _Loader(_C_OR_PYTHON):  # type: ignore[misc]
    """The core schema of YAML 1.2 (section 10.3.2), with the merge keys (``<<``) of 1.1."""

    yaml_implicit_resolvers: ClassVar[dict[str, list[tuple[str, re.Pattern[str]]]]] = {}

    def int_of(self, node: yaml.ScalarNode) -> int:
        """Take ``010`` for ten, ``0o10`` and ``0x8`` for eight."""
        text: str = self.construct_scalar(node)
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)

    def float_of(self, node: yaml.ScalarNode) -> float:
        """Take ``1e-4`` for a number, which YAML 1.1 doesn't."""
        return float(self.construct_scalar(node).lower().replace(".inf", "inf").replace(".nan", "nan"))


class _Dumper(yaml.SafeDumper):
    """Quotes a string that either version would take for something else."""


_NUMBERS = {
    "int": r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+",
    "float": r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)",
}
_OTHERS = {"null": r"~|null|Null|NULL|", "bool": r"true|True|TRUE|false|False|FALSE", "merge": "<<"}
for _kind, _pattern in (_NUMBERS | _OTHERS).items():
    _resolver = (f"tag:yaml.org,2002:{_kind}", re.compile(f"^(?:{_pattern})$"), None)
    _Loader.add_implicit_resolver(*_resolver)
    if _kind in _NUMBERS:
        _Dumper.add_implicit_resolver(*_resolver)
_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.int_of)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.float_of)
