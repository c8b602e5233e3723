"""Damage as disks, killed writers and people do it, drawn by Hypothesis."""

import gzip
import json
from collections.abc import Callable
from typing import Any

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

JUNK = [None, True, -1, 0, 10**400, -1e300, 1e400, float("nan"), "", "x", "\ud800", "../..", [], [1], {}, {"x": 1}]
"""What may stand in the place of a value: other types, huge numbers, and what is no JSON."""


def times(examples: int) -> settings:
    """Return settings for so many examples; for those of ``--hypothesis-profile thorough`` where it is given."""
    chosen = settings().max_examples
    plenty = settings.get_profile("thorough").max_examples
    return settings(
        max_examples=plenty if chosen == plenty else examples, suppress_health_check=[HealthCheck.too_slow]
    )


@st.composite
def damaged_bytes(draw: st.DrawFn, content: bytes) -> bytes:
    """Return the content with a bit flipped, cut short, emptied, not UTF-8, or with bytes put in."""
    place = draw(st.integers(0, max(0, len(content) - 1)))
    how = draw(st.sampled_from(("flip", "cut", "empty", "not UTF-8", "insert", "zeros")))
    if how == "flip":
        flipped = bytearray(content)
        flipped[place] ^= 1 << draw(st.integers(0, 7))
        return bytes(flipped)
    if how == "zeros":
        return content[:place] + bytes(min(512, len(content) - place)) + content[place + 512 :]
    return {
        "cut": content[:place],
        "empty": b"",
        "not UTF-8": content[:place] + b"\xff\xfe" + content[place:],
        "insert": content[:place] + draw(st.binary(min_size=1, max_size=8)) + content[place:],
    }[how]


@st.composite
def damaged_json(draw: st.DrawFn, content: bytes) -> bytes:
    """Return JSON of which a value is another, a key is missing, or all is nested deeply; or damaged bytes."""
    how = draw(st.sampled_from(("bytes", "junk", "junk", "junk", "missing", "other", "nested")))
    if how == "bytes":
        return draw(damaged_bytes(content))
    if how == "nested":
        return b'{"x":' * 3000 if draw(st.booleans()) else b"[" * 5000 + b"]" * 5000
    if how == "other":
        return _text(draw(st.sampled_from(JUNK)))
    values = json.loads(content)
    places = list(_places(values))
    if not places:
        return b""
    owner, key = draw(st.sampled_from(places))
    if how == "missing":
        del owner[key]
    else:
        owner[key] = draw(st.sampled_from(JUNK))
    return _text(values)


@st.composite
def damaged_lines(draw: st.DrawFn, content: bytes) -> bytes:
    """Return JSON lines of which one is damaged."""
    lines = content.splitlines()
    number = draw(st.integers(0, len(lines) - 1))
    lines[number] = draw(damaged_json(lines[number]))
    return b"\n".join(lines) + b"\n"


@st.composite
def damaged_yaml(draw: st.DrawFn, content: bytes) -> bytes:
    """Return YAML of which a value is another, a key is missing, misspelt or there twice; or damaged bytes."""
    how = draw(st.sampled_from(("bytes", "junk", "junk", "junk", "near", "missing", "misspelt", "twice")))
    if how == "bytes":
        return draw(damaged_bytes(content))
    if how == "twice":
        lines = content.splitlines(keepends=True)
        return b"".join([*lines, draw(st.sampled_from(lines))])
    values = yaml.safe_load(content)
    owner, key = draw(st.sampled_from(list(_places(values))))
    if how == "missing":
        del owner[key]
    elif how == "misspelt" and isinstance(key, str):
        owner[_misspelt(draw, key)] = owner.pop(key)
    elif how == "near" and isinstance(owner[key], int | float):
        owner[key] = draw(st.sampled_from((str(owner[key]), owner[key] + 1, owner[key] * 1.5, -owner[key])))
    elif how == "near" and isinstance(owner[key], str):
        owner[key] = _misspelt(draw, owner[key])
    else:
        owner[key] = draw(st.sampled_from([value for value in JUNK if value != "\ud800"]))
    return yaml.safe_dump(values, sort_keys=False).encode()


@st.composite
def damaged_csv(draw: st.DrawFn, content: bytes) -> bytes:
    """Return a table with another cell, a cell or row less or more, a misspelt column; or damaged bytes."""
    how = draw(st.sampled_from(("bytes", "bytes", "cell", "cell", "fewer", "more", "column", "row", "form")))
    if how == "bytes":
        return draw(damaged_bytes(content))
    if how == "form":
        forms = (content.replace(b",", b";"), content.replace(b"\n", b"\r\n"), gzip.compress(content, mtime=0))
        return draw(st.sampled_from((*forms, b"\xef\xbb\xbf" + content, content.decode().encode("utf-16"))))
    lines = [line.split(",") for line in content.decode().splitlines()]
    row = draw(st.integers(0 if how == "column" else 1, 0 if how == "column" else len(lines) - 1))
    place = draw(st.integers(0, len(lines[row]) - 1))
    if how == "column":
        lines[row][place] = _misspelt(draw, lines[row][place])
    elif how == "row":
        lines.insert(draw(st.integers(1, len(lines))), list(lines[row]))
    elif how == "fewer":
        del lines[row][place]
    elif how == "more":
        lines[row].insert(place, "1")
    else:
        lines[row][place] = draw(st.sampled_from(("", "maybe", "-1", "1", "0", "nan", '"', "a\0b", "1e9", " ")))
    return "".join(",".join(line) + "\n" for line in lines).encode()


def _misspelt(draw: st.DrawFn, word: str) -> str:
    place = draw(st.integers(0, max(0, len(word) - 1)))
    return draw(
        st.sampled_from((word[:place] + word[place + 1 :], word[:place] + "x" + word[place:], word.upper()))
    )


def damage_of(name: str) -> Callable[[bytes], st.SearchStrategy[bytes]]:
    """Return the damage that suits a file."""
    if name.endswith(".jsonl"):
        return damaged_lines
    return damaged_json if name.endswith(".json") else damaged_bytes


def _text(values: Any) -> bytes:
    # numbers that overflow are written as people write them
    text = json.dumps(values).replace("Infinity", "1e999")
    return text.encode()


def _places(values: Any) -> Any:
    if isinstance(values, dict | list):
        for key, value in values.items() if isinstance(values, dict) else enumerate(values):
            yield values, key
            yield from _places(value)
