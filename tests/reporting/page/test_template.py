from pathlib import Path

from clr_hpc.reporting.page.template import write_tables
from clr_hpc.store.csv_text import csv_text


def test_a_table_without_a_row_is_not_written_and_an_earlier_one_removed(tmp_path: Path) -> None:
    write_tables(tmp_path, {"one.csv": csv_text([{"a": 1}]), "other.csv": csv_text([{"b": 2}])})
    (tmp_path / "mine.csv").write_text("")
    write_tables(tmp_path, {"one.csv": csv_text([{"a": 3}]), "other.csv": csv_text([]), "paper.tex": ""})
    assert {path.name for path in tmp_path.iterdir()} == {"one.csv", "mine.csv"}
    assert (tmp_path / "one.csv").read_text() == "a\n3\n"
