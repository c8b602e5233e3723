"""What was wrong with a value that a user wrote, in the user's words."""

from pydantic import ValidationError


def explain(error: ValidationError) -> str:
    """Return one line for all mistakes: where each is and what is wrong, without pydantic's codes and links."""
    lines = []
    for mistake in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in mistake["loc"])
        given = mistake["input"]
        value = "" if isinstance(given, dict) or mistake["type"] == "value_error" else f" (it is {given!r})"
        lines.append(f"{place + ': ' if place else ''}{mistake['msg'].removeprefix('Value error, ')}{value}")
    return "; ".join(lines)
