"""The one base of every spec: frozen, and an unknown key is an error that names the nearest known one."""

import ast
import difflib
import inspect
import re
import reprlib
import textwrap
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import Annotated, Any, ClassVar, get_args

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    ValidationError,
    model_serializer,
    model_validator,
)

Seed = Annotated[int, Field(ge=0, lt=2**31)]

LONGEST_VALUE, LONGEST_TEXT, MOST_MISTAKES = 80, 600, 8
"""Characters of a value in an error, characters of an error about one value, and errors in one message."""
_REPR = reprlib.Repr()
_REPR.maxstring = _REPR.maxother = _REPR.maxlong = LONGEST_VALUE


class UserError(Exception):
    """What a user can set right: the message gives the value, the rule and the remedy. A command prints it."""


@dataclass(frozen=True)
class Also:
    """Words that may stand in a file in place of what a field's type says; a validator turns them into that.

    This changes the JSON schema only.
    """

    words: tuple[str, ...]

    def __get_pydantic_json_schema__(self, core_schema: Any, handler: Any) -> dict[str, Any]:
        """Return the schema of the field."""
        return {"anyOf": [{"enum": [*self.words]}, handler(core_schema)]}


class FrozenSpec(BaseModel):
    """A value that is checked when it is made and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key, value in values.items():
                if key not in cls.model_fields:
                    raise ValueError(unknown(f"key of {_called(cls)}", str(key), list(cls.model_fields)))
                if _has_truth_value(value) and key in _numbers_of(cls):
                    raise ValueError(f"{key}={shown(value)}: true and false are no numbers here; write the number")
        return values

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any, /) -> dict[str, Any]:
        """Return the JSON schema, in which each key has its docstring; editors show it."""
        schema: dict[str, Any] = handler(core_schema)
        described = handler.resolve_ref_schema(schema)
        described["description"] = _for_editors(cls.__doc__ or "")
        for name, key in described.get("properties", {}).items():
            key.pop("title", None)  # the name in capitals
            if name in (docs := field_docs(cls)):
                key["description"] = _for_editors(docs[name])
            if name in ("name", "kind") and "const" in key:  # says which model of a union a mapping is
                described["required"] = [name, *described.get("required", [])]
        return schema


class GrownSpec(FrozenSpec):
    """A spec that got options later. At their defaults they are not written, so that older ids and bytes stay."""

    later: ClassVar[tuple[str, ...]] = ()
    """Names of these options."""

    @model_serializer(mode="wrap")
    def _without_later_options_that_are_off(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        fields = type(self).model_fields
        off = {name for name in self.later if name in fields and getattr(self, name) == fields[name].default}
        return {name: value for name, value in values.items() if name not in off}


@cache
def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the docstring of each field of a model that has one, those of its base classes included."""
    found: dict[str, str] = {}
    for each in reversed(model.__mro__):
        if issubclass(each, FrozenSpec):
            (node,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
            assert isinstance(node, ast.ClassDef)
            for field, after in pairwise(node.body):
                if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                    match after:
                        case ast.Expr(value=ast.Constant(value=str(text))):
                            found[field.target.id] = inspect.cleandoc(text)
    return found


def _for_editors(docstring: str) -> str:
    """Return a docstring as Markdown, in the words of a file, where a key is left out and not None."""
    text = inspect.cleandoc(docstring).replace("``", "`")
    return re.sub(r"(^|\. )None: ", r"\1Without it: ", text).replace("None: ", "without it: ")


def _has_truth_value(value: Any) -> bool:
    return isinstance(value, bool) or (
        isinstance(value, list | tuple) and any(isinstance(one, bool) for one in value)
    )


@cache
def _numbers_of(model: type[BaseModel]) -> frozenset[str]:
    """Return the fields that take numbers and no truth values, for which pydantic would take true for 1."""
    kinds = {name: _kinds_in(field.annotation) for name, field in model.model_fields.items()}
    return frozenset(name for name, found in kinds.items() if found & {int, float} and bool not in found)


def _kinds_in(annotation: Any) -> set[Any]:
    inside = get_args(annotation)
    return set().union(*map(_kinds_in, inside)) if inside else {annotation}


def _called(model: type[BaseModel]) -> str:
    """Return what a file calls a model: the name that selects it, as of a policy, else its class in words."""
    name = model.model_fields["name"].default if "name" in model.model_fields else None
    return name if isinstance(name, str) else re.sub(r"(?<=[a-z])(?=[A-Z])", " ", model.__name__).lower()


def by_name(union: Any) -> dict[str, Any]:
    """Return the classes of an ``Annotated`` union whose members differ by ``name``, in order."""
    return {member.model_fields["name"].default: member for member in get_args(get_args(union)[0])}


def shown(value: Any) -> str:
    """Return a value as an error shows it: its ``repr``, in some 80 characters however large it is."""
    return shortened(_REPR.repr(value), 2 * LONGEST_VALUE)


def shortened(text: str, longest: int = LONGEST_TEXT) -> str:
    """Return a text of any length in one line of at most ``longest`` characters."""
    line = " ".join(text[: 2 * longest].split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def counted(number: int, noun: str) -> str:
    """Return ``1 run`` or ``3 runs``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def unknown(what: str, value: str, known: list[str]) -> str:
    """Return an error text for ``value``, which names the nearest of ``known`` or lists them all."""
    nearest = difflib.get_close_matches(value[:LONGEST_VALUE], known, n=1, cutoff=0.6)
    remedy = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
    return f"unknown {what}: {shown(value)}; {remedy}"


def explain(error: ValidationError) -> str:
    """Return one line for all mistakes: where each is and what is wrong, without pydantic's codes and links."""
    lines = []
    mistakes = error.errors(include_url=False, include_context=False)
    for mistake in mistakes[:MOST_MISTAKES]:
        place = ".".join(str(part) for part in mistake["loc"])
        given = mistake["input"]
        value = "" if isinstance(given, dict) or mistake["type"] == "value_error" else f" (it is {shown(given)})"
        text = shortened(mistake["msg"].removeprefix("Value error, "))
        lines.append(f"{shortened(place, LONGEST_VALUE) + ': ' if place else ''}{text}{value}")
    more = len(mistakes) - len(lines)
    return "; ".join([*lines, f"and {more:,} more"] if more else lines)
