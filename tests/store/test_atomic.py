import json
from pathlib import Path

import pytest

from clr_hpc.store.atomic import write_json, written_whole


def test_what_is_there_stays_until_the_new_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    write_json(path, {"a": 1})
    with pytest.raises(RuntimeError, match="the disk is full"):
        _write_until_the_disk_is_full(path)
    assert json.loads(path.read_text()) == {"a": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"], "nothing half-written may be left"


def _write_until_the_disk_is_full(path: Path) -> None:
    before = path.read_text()
    with written_whole(path) as aside:
        aside.write_text('{"a": 2')
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
