"""The one base of every spec: frozen, and an unknown key is an error that names the nearest known one."""

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator


class UserError(Exception):
    """What a user can set right: the message gives the value, the rule and the remedy. A command prints it."""


class FrozenSpec(BaseModel):
    """A value that is checked when it is made and never changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _name_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict):
            for key in values:
                if key not in cls.model_fields:
                    raise ValueError(unknown(f"key of {cls.__name__}", str(key), list(cls.model_fields)))
        return values


def by_name(union: Any) -> dict[str, Any]:
    """Return the classes of an ``Annotated`` union whose members differ by ``name``, in order."""
    return {member.model_fields["name"].default: member for member in get_args(get_args(union)[0])}


def unknown(what: str, value: str, known: list[str]) -> str:
    """Return an error text for ``value``, which names the nearest of ``known`` or lists them all."""
    nearest = difflib.get_close_matches(value, known, n=1, cutoff=0.6)
    remedy = f"did you mean {nearest[0]!r}?" if nearest else f"known are {', '.join(known)}"
    return f"unknown {what}: {value!r}; {remedy}"


def explain(error: ValidationError) -> str:
    """Return one line for all mistakes: where each is and what is wrong, without pydantic's codes and links."""
    lines = []
    for mistake in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in mistake["loc"])
        given = mistake["input"]
        value = "" if isinstance(given, dict) or mistake["type"] == "value_error" else f" (it is {given!r})"
        lines.append(f"{place + ': ' if place else ''}{mistake['msg'].removeprefix('Value error, ')}{value}")
    return "; ".join(lines)
