"""Cells that a spreadsheet would run are text; all others are as they were."""

import csv
import io
import math
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.store.csv_text import csv_text

WORDS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0\r"), min_size=1)
CELLS = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), WORDS.map(lambda text: f"a{text}"))


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("first", list("=+-@\t\r\n＝＋－＠"))
def test_what_a_spreadsheet_would_run_becomes_text_in_cells_and_heads(first: str) -> None:
    text = f"{first}HYPERLINK(1)"
    assert read(csv_text([{text: text}])) == [{f"'{text}": f"'{text}"}]


def test_a_carriage_return_begins_no_row() -> None:
    assert read(csv_text([{"view": "PA\r=1+1"}])) == [{"view": "PA\r=1+1"}]


@pytest.mark.parametrize("number", [-0.05, -3, "-0.05", "+5", "-1e-05", ".5", -math.inf])
def test_numbers_stay_numbers(number: Any) -> None:
    assert read(csv_text([{"auroc": number}])) == [{"auroc": str(number)}]


@pytest.mark.parametrize("text", ["-1+2", "+1)", "-inf", "--1", "-1_0", "- 1"])
def test_what_only_looks_like_a_number_is_text(text: str) -> None:
    assert read(csv_text([{"auroc": text}])) == [{"auroc": f"'{text}"}]


@given(st.lists(st.dictionaries(st.sampled_from(["run", "lr, in steps", "reason"]), CELLS), max_size=4))
def test_all_else_is_written_as_pandas_writes_it(rows: list[dict[str, Any]]) -> None:
    assert csv_text(rows) == pd.DataFrame(rows, dtype=object).to_csv(index=False, lineterminator="\n")


def test_a_table_without_rows_has_its_head() -> None:
    assert csv_text([], ("image", "reason")) == "image,reason\n"


def test_nothing_else_writes_csv(repository: Path) -> None:
    writing = re.compile(r"csv\.(writer|DictWriter)\(|\.to_csv\(|write_csv\(")
    files = (repository / "clr_hpc").rglob("*.py")
    assert [path.name for path in files if writing.search(path.read_text())] == ["csv_text.py"]
