"""A notebook as a Markdown page: text, code and printed results as they are saved, nothing is executed."""

from pathlib import Path
from typing import Any

import nbformat


def notebook_page(file: Path) -> str:
    """Return a notebook as Markdown."""
    cells = nbformat.read(file, as_version=4).cells
    return "\n\n".join(part for cell in cells for part in _parts(cell)) + "\n"


def _parts(cell: Any) -> list[str]:
    if cell.cell_type == "markdown":
        return [cell.source]
    printed = "".join(_text(output) for output in cell.outputs)
    figures = [output.data["image/png"] for output in cell.outputs if "image/png" in output.get("data", {})]
    shown = [f"![Figure of the cell above](data:image/png;base64,{''.join(figure.split())})" for figure in figures]
    return [_fenced(cell.source, "python"), *([_fenced(printed, "text")] if printed else []), *shown]


def _text(output: Any) -> str:
    """Return what a cell printed; what names a figure, such as ``<Figure size 640x480>``, is left out."""
    if output.output_type == "stream":
        return str(output.text)
    return str(output.data.get("text/plain", "")) if output.output_type == "execute_result" else ""


def _fenced(text: str, language: str) -> str:
    return f"```{language}\n{text.rstrip()}\n```"
