"""Blocks that are kept: what was put is got, and what is damaged is as if it had never been there."""

import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from clr_hpc.store.cache.blocks import KeptBlocks, kept_files
from clr_hpc.store.cache.values import from_bytes, to_bytes

NUMBERS = st.floats(allow_nan=False) | st.integers() | st.text() | st.none()
ARRAYS = st.sampled_from([np.float32, np.float64, np.int32, np.uint8]).flatmap(
    lambda kind: arrays.arrays(kind, arrays.array_shapes(min_dims=1, max_dims=2, min_side=0, max_side=9))
)
PLAIN = st.dictionaries(st.text().filter(lambda name: name != "array"), st.lists(NUMBERS), max_size=4)


@given(PLAIN, st.lists(ARRAYS))
def test_values_come_back_exactly(plain: dict[str, list[object]], some: list[NDArray[np.generic]]) -> None:
    found = from_bytes(to_bytes({"plain": plain, "arrays": some, "nan": float("nan")}))
    assert found["plain"] == plain
    assert np.isnan(found["nan"])
    for put, got in zip(some, found["arrays"], strict=True):
        assert (got.dtype, got.shape) == (put.dtype, put.shape)
        assert got.tobytes() == put.tobytes()


@pytest.mark.parametrize("odd", [object(), np.array(["text"]), {1, 2}, np.array([object()])])
def test_what_could_run_code_or_lose_digits_is_not_kept(odd: object) -> None:
    with pytest.raises(TypeError, match="can't be kept"):
        to_bytes([odd])


def filled(file: Path) -> dict[str, bytes]:
    blocks = {"one": b"first block", "other": b"", "last": bytes(range(256))}
    kept = KeptBlocks(file)
    for key, block in blocks.items():
        kept.put(key, block)
    kept.save()
    return blocks


def test_blocks_are_those_that_were_put(tmp_path: Path) -> None:
    blocks = filled(tmp_path / "a.kept")
    again = KeptBlocks(tmp_path / "a.kept")
    assert {key: again.get(key) for key in blocks} == blocks
    assert again.get("none") is None


def test_any_flipped_bit_is_noticed_and_changes_no_block(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = tmp_path / "a.kept"
    blocks = filled(file)
    sound = file.read_bytes()
    for place in range(len(sound)):
        damaged = bytearray(sound)
        damaged[place] ^= 1 << place % 8
        file.unlink()  # else ext4 waits for the disk
        file.write_bytes(damaged)
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            again = KeptBlocks(file)
        found = {key: block for key in blocks if (block := again.get(key)) is not None}
        assert found.items() < blocks.items(), place
        assert str(file) in caplog.text
        assert "computed again" in caplog.text


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff\n", b'{"format_version": 2, "blocks": []}\n', b"x" * 99])
def test_what_is_no_such_file_holds_nothing(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "a.kept"
    file.write_bytes(content)
    assert KeptBlocks(file).get("one") is None


def test_what_was_not_used_is_not_kept(tmp_path: Path) -> None:
    file = tmp_path / "a.kept"
    filled(file)
    kept = KeptBlocks(file)
    kept.get("one")
    kept.put("new", b"n")
    kept.save()
    after = KeptBlocks(file)
    assert [after.get(key) for key in ("one", "other", "last", "new")] == [b"first block", None, None, b"n"]


def test_a_file_whose_blocks_were_all_used_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.kept"
    blocks, before = filled(file), file.stat()
    kept = KeptBlocks(file)
    for key in blocks:
        kept.get(key)
    kept.save()
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_disk_that_can_not_be_written_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "folder").write_text("a file")
    kept = KeptBlocks(tmp_path / "folder" / "a.kept")
    kept.put("one", b"block")
    with caplog.at_level(logging.WARNING):
        kept.save()
    assert "can't be written" in caplog.text


def test_only_files_of_blocks_are_the_caches_own(tmp_path: Path) -> None:
    filled(tmp_path / "a.kept")
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / ".a.kept.7.temporary").write_text("killed")
    (tmp_path / "link.kept").symlink_to(tmp_path / "notes.txt")
    assert [file.name for file in kept_files(tmp_path)] == ["a.kept", ".a.kept.7.temporary"]
    assert kept_files(tmp_path / "none") == []
