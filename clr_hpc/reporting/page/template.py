"""HTML pages from this folder's templates: one file each, which needs no network."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

import clr_hpc
from clr_hpc.reporting.page.packed import PackedFigures, is_packed, pack
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.cache.blocks import KeptBlocks

MOST_SPECS = 100
"""Runs whose specs stand in the page as they are."""


def render_page(template: str, *, packed: PackedFigures | None = None, **values: Any) -> str:
    """Return a page made from a template of this folder; ``packed`` has its packed figures."""
    environment = Environment(
        loader=PackageLoader("clr_hpc.reporting.page", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"sort_keys": False}
    environment.filters["pack"] = pack
    environment.filters["packed_figures"] = packed or PackedFigures(KeptBlocks(None))
    environment.tests["packed_in"] = is_packed
    environment.globals["most_specs"] = MOST_SPECS
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


def _asset(name: str) -> Markup:
    return Markup((files("clr_hpc.reporting.page") / name).read_text(encoding="utf-8"))
