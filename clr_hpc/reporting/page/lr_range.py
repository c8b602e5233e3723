"""The page of a study's range tests, which needs no network."""

from pathlib import Path

import clr_hpc
from clr_hpc.reporting.page.page import asset, page_template
from clr_hpc.reporting.read.lr_range import read_range_tests
from clr_hpc.store.atomic import atomic_write


def write_page(folder: Path) -> Path:
    """Write ``range_tests.html`` beside a folder's ``range_tests.json``, and return its path.

    Raises:
        ReportError: the JSON is damaged.
        FileNotFoundError: it isn't there.
    """
    found = read_range_tests(folder)
    if found is None:
        raise FileNotFoundError(f"{folder} has no range_tests.json; 'clr-hpc range-test' writes it")
    text = page_template("lr_range.html.jinja").render(
        version=clr_hpc.__version__,
        name=folder.name,
        style=asset("report.css"),
        script=asset("report.js"),
        range_tests=found,
    )
    with atomic_write(folder / "range_tests.html") as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")
    return folder / "range_tests.html"
