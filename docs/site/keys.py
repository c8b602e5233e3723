"""The pages of all keys of a study or a site file, written from the JSON Schema that ``clr-hpc schema`` prints."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from clr_hpc.cli.start.schema import Kind, schema_text

Schema = dict[str, Any]

TITLES = {Kind.STUDY: "Keys of a study", Kind.SITE: "Keys of a site file"}
BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
MANY = 4
"""Values of a default above which the table says only that they are all."""


def keys_page(kind: Kind) -> str:
    """Return the keys of a kind of file: one table per mapping, with meaning, type and default."""
    schema = json.loads(schema_text(kind))
    return "\n".join(_Page(schema.get("$defs", {})).lines(TITLES[kind], schema)) + "\n"


@dataclass
class _Section:
    """One mapping: where in a file it may stand, and its table."""

    heading: str
    description: str
    places: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)


class _Page:
    """One page, which follows a schema from its root to each mapping that it can hold.

    A mapping is headed by the name that chooses it, such as ``triangular``, or by the first place where it stands.
    """

    def __init__(self, definitions: Schema) -> None:
        self._definitions = definitions
        self._sections: dict[str, _Section] = {}
        """By the title of the mapping, which is the name of its class."""

    def lines(self, title: str, root: Schema) -> Iterator[str]:
        """Yield the lines of the page."""
        yield from (f"# {title}", "", root["description"], "", *self._table(root, ""))
        for section in self._sections.values():
            places = ", ".join(f"`{place}`" for place in section.places)
            yield from (f"## {section.heading}", "", section.description, "")
            if section.places != [section.heading]:
                yield from (f"In {places}.", "")
            yield from section.rows

    def _table(self, mapping: Schema, place: str) -> list[str]:
        rows = ["| key | meaning | type | default |", "|---|---|---|---|"]
        required = mapping.get("required", ())
        for key, value in mapping["properties"].items():
            kind = self._type(value, f"{place}.{key}".lstrip("."))
            default = "required" if key in required else _default(value.get("default"))
            rows.append(f"| `{key}` | {_cell(value.get('description', ''))} | {kind} | {default} |")
        return [*rows, ""]

    def _type(self, schema: Schema, place: str) -> str:
        """Return a value's type in words, and add a section for each mapping in it."""
        match schema:
            case {"$ref": reference}:
                return self._link(self._definitions[reference.rpartition("/")[2]], place)
            case {"properties": _}:
                return self._link(schema, place)
            case {"anyOf": [{"enum": [*names]}, {"oneOf": [*mappings]}]} if len(names) == len(mappings):
                return f"name, or mapping with a name: {self._either(mappings, place, ', ')}"
            case {"anyOf": [*kinds]} | {"oneOf": [*kinds]}:
                return self._either(kinds, place, " or ")
            case {"const": value}:
                return f"`{value}`"
            case {"enum": [*values]}:
                return ", ".join(f"`{value}`" for value in values)
            case {"items": each}:
                return f"list of {self._type(each, place)}"
            case {"additionalProperties": {} as each}:
                return f"mapping of names to {self._type(each, f'{place}.NAME')}"
        bounds = [f"{sign} {schema[word]:,}" for word, sign in BOUNDS.items() if word in schema]
        return " ".join([schema.get("type", "anything"), ", ".join(bounds)]).strip()

    def _either(self, kinds: list[Schema], place: str, separator: str) -> str:
        words = [self._type(kind, place) for kind in kinds if kind.get("type") != "null"]
        return separator.join(dict.fromkeys(words))

    def _link(self, mapping: Schema, place: str) -> str:
        title = mapping["title"]
        is_new = title not in self._sections
        if is_new:
            self._sections[title] = _Section(_heading(mapping, place), mapping["description"])
        section = self._sections[title]
        if place not in section.places:
            section.places.append(place)
        if is_new:
            section.rows = self._table(mapping, place)
        text = "mapping" if section.heading == section.places[0] else f"`{section.heading}`"
        return f"[{text}](#{section.heading.replace('.', '').replace(' ', '-').lower()})"


def _heading(mapping: Schema, place: str) -> str:
    match mapping["properties"]:
        case {"name": {"const": name}}:
            return str(name)
        case {"kind": {"const": kind}}:
            return f"{place} {kind}"
    return place


def _default(value: object) -> str:
    match value:
        case None | []:
            return ""
        case dict():
            return "its own"
        case [*values] if len(values) > MANY:
            return "all"
    return f"`{json.dumps(value, ensure_ascii=False)}`"


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")
