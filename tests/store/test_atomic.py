import json
import re
from pathlib import Path

import pytest

from clr_hpc.store.atomic import atomic_write, own_files, remove_left_over, write_json


def test_what_is_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError, match="the disk is full"):
        _write_until_the_disk_is_full(path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"], "nothing half-written may be left"


def _write_until_the_disk_is_full(path: Path) -> None:
    before = path.read_text()
    with atomic_write(path) as temporary:
        temporary.write_text('{"a": 2')
        assert path.read_text() == before
        raise RuntimeError("the disk is full")


def test_the_new_replaces_the_old(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    write_json(path, {"a": "é"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"a": "é"}


def test_a_folder_that_is_missing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        write_json(tmp_path / "missing" / "result.json", {})


def test_what_a_killed_writer_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    """A writer that is killed leaves the name that ``atomic_write`` gives; links and folders of that name stay."""
    run, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    run.mkdir()
    elsewhere.mkdir()
    with atomic_write(run / "result.json") as temporary:
        temporary.write_text("{}")
        left = temporary.name
    mine = [left, ".metrics.jsonl.17.aside", ".a.b.123.temporary", ".tmp4XU8z7"]
    others = [
        "notes.temporary",
        ".notes.temporary",
        ".x.12.temporary.txt",
        ".lock",
        "result.json",
        ".x.y.temporary",
    ]
    for name in (*mine, *others):
        (run / name).write_text("x")
    (run / ".folder.1.temporary").mkdir()
    (elsewhere / left).write_text("x")
    (run / ".link.2.temporary").symlink_to(elsewhere / left)
    (run / "checkpoints").symlink_to(elsewhere)
    remove_left_over(run, run / "checkpoints", run / "missing")
    kept = {".folder.1.temporary", ".link.2.temporary", "checkpoints"}
    assert {path.name for path in run.iterdir()} == {*others, *kept}
    assert (elsewhere / left).exists(), "links are not followed"


def test_own_files_are_those_of_a_pattern_in_order(tmp_path: Path) -> None:
    for name in ("2.txt", "1.txt", "1.txt.bak", "one.txt"):
        (tmp_path / name).touch()
    pattern = re.compile(r"[0-9]\.txt")
    assert [path.name for path in own_files(tmp_path, pattern)] == ["1.txt", "2.txt"]
    assert own_files(tmp_path / "2.txt", pattern) == []
