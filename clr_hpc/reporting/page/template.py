"""HTML pages from this folder's templates: one file each, which needs no network."""

import hashlib
import zlib
from base64 import b64encode
from collections.abc import Mapping
from functools import cache, partial
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import clr_hpc
from clr_hpc.reporting.figures.select import Drawing
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.cache.blocks import KeptBlocks
from clr_hpc.store.provenance import source_sha256

MOST_DRAWN = 24
"""Figures of one section that stand in the page as they are. Of more, each is packed until it is chosen: a page of
thousands opens at once, and is a sixth as large."""
MOST_SPECS = 100
"""Runs whose specs stand in the page as they are."""


def render_page(template: str, *, kept: KeptBlocks | None = None, **values: Any) -> str:
    """Return a page made from a template of this folder; ``kept`` has packed figures of an earlier one."""
    environment = Environment(
        loader=PackageLoader("clr_hpc.reporting.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters["pack"] = _packed
    environment.filters["packed_figures"] = partial(_packed_figures, kept=kept or KeptBlocks(None))
    environment.globals |= {"most_drawn": MOST_DRAWN, "most_specs": MOST_SPECS}
    assets = {"style": _asset("report.css"), "script": _asset("report.js"), "version": clr_hpc.__version__}
    return environment.get_template(template).render(**assets, **values)


def write_text(path: Path, text: str) -> Path:
    """Write a file atomically with the bytes of ``text``, and return its path."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return path


def write_tables(folder: Path, tables: Mapping[str, str]) -> None:
    """Write tables into a folder; of one without a row, remove what an earlier report has left."""
    for name, text in tables.items():
        if has_rows(text):
            write_text(folder / name, text)
        else:
            (folder / name).unlink(missing_ok=True)


def has_rows(text: str) -> bool:
    """Return whether the text of a CSV or LaTeX file holds more than its end of line."""
    return bool(text.strip())


def _packed(markup: str) -> str:
    """Return text that the page's script unpacks, with zlib and base64."""
    return b64encode(zlib.compress(markup.encode(), 9)).decode()


def _packed_figures(drawing: Drawing, kept: KeptBlocks) -> str:
    """Return figures that the page's script unpacks, drawn only where none of an earlier page shows the same."""
    key = _identity(drawing.content()) if drawing.content else ""
    block = kept.get(key)
    if block is None:
        block = _packed(Markup("\n").join(drawing.figures)).encode()
        if key:
            kept.put(key, block)
    return block.decode()


def _identity(content: bytes) -> str:
    """Return what identifies a drawing: what it shows, and the code that draws it."""
    return hashlib.sha256(_drawn_by() + content).hexdigest()


@cache
def _drawn_by() -> bytes:
    return f"{source_sha256()} {version('matplotlib')} ".encode()


def _asset(name: str) -> Markup:
    return Markup((files("clr_hpc.reporting.page") / name).read_text(encoding="utf-8"))
