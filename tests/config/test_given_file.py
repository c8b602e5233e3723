"""What errors of disks and decoders mean to somebody who gave a path."""

import errno
import gzip
import os
import zlib
from pathlib import Path

import pytest

from clr_hpc.cli.failure import in_words
from clr_hpc.config.base import UserError
from clr_hpc.config.given_file import (
    FileError,
    as_text,
    check_output,
    check_writable,
    mistake_of,
    read_given,
    unpacked,
)


@pytest.mark.parametrize(
    ("error", "rule"),
    [
        (OSError(errno.ENOENT, "x"), "there is no such file or folder"),
        (OSError(errno.ENOTDIR, "x"), "a part of the path is a file, where a folder is meant"),
        (OSError(errno.EISDIR, "x"), "it is a folder, not a file"),
        (OSError(errno.EACCES, "x"), "this user may not"),
        (OSError(errno.EROFS, "x"), "the disk is read-only"),
        (OSError(errno.ENOSPC, "x"), "the disk is full"),
        (OSError(errno.EXDEV, "Of another disk"), "of another disk"),
        (EOFError("x"), "it ends before its compressed data does"),
        (zlib.error("bad block"), r"its compressed data is damaged (bad block)"),
        (UnicodeDecodeError("utf-8", b"\xf6", 0, 1, "x"), "it is not UTF-8"),
        (ValueError("embedded null byte"), "the name holds a NUL"),
        (ValueError("open: embedded null character in path"), "the name holds a NUL"),
        (MemoryError(), "it does not fit into memory"),
    ],
)
def test_each_error_has_a_rule_and_a_remedy(error: Exception, rule: str) -> None:
    mistake = mistake_of(error)
    assert mistake.rule == rule
    assert mistake.remedy
    assert "Errno" not in str(mistake)


def test_a_command_names_the_path_of_an_error() -> None:
    told = in_words(PermissionError(errno.EACCES, "Permission denied", "results/trial"))
    assert told == "results/trial: this user may not; change its permissions with chmod, or give another path"
    assert in_words(KeyError("ours")) is None


def test_only_whole_files_are_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"abc")
    os.mkfifo(tmp_path / "pipe")
    assert read_given(tmp_path / "file") == b"abc"
    told = {
        "": "folder",
        "pipe": "pipe or a device",
        "file/x": "a part of the path",
        "a\0b": "NUL",
        "x" * 300: "long",
    }
    for name, rule in told.items():
        with pytest.raises(FileError, match=rule) as caught:
            read_given(tmp_path / name)
        assert not caught.value.is_absent
    with pytest.raises(FileError, match="no such file") as caught:
        read_given(tmp_path / "nowhere")
    assert caught.value.is_absent
    with pytest.raises(FileError, match="3 bytes, more than 2; is it another file"):
        read_given(tmp_path / "file", largest=2)
    with pytest.raises(FileError, match="device"):
        read_given(Path("/dev/null"))


def test_compressed_and_plain_text() -> None:
    packed = gzip.compress(b"image,edema\n" * 99)
    assert as_text(unpacked(packed)) == as_text(unpacked(b"image,edema\n" * 99))
    for damaged in (packed[:-9], packed[:20], packed[:-8] + bytes(8), packed[:14] + b"\xff" + packed[15:]):
        with pytest.raises(FileError, match="copy it again from where it came"):
            unpacked(damaged)
    with pytest.raises(FileError, match="not UTF-8: byte 0xf6 in line 2; save the file as UTF-8"):
        as_text(b"a\n\xf6")


def test_outputs_are_checked_before_they_are_worked_out(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder.png").mkdir()
    check_output(tmp_path / "new" / "a.PNG", (".png", ".svg"))
    told = {
        "a.pdf": "ends in .pdf",
        "a": "ends in nothing",
        "folder.png": "it is a folder",
        "file/a.png": "is a file",
    }
    for name, rule in told.items():
        with pytest.raises(UserError, match=rule):
            check_output(tmp_path / name, (".png", ".svg"))
    check_writable(tmp_path / "a" / "b")
    assert not (tmp_path / "new").exists()
