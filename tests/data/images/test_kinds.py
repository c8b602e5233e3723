from pathlib import Path

import pytest

from clr_hpc.data.images.kinds import is_image

DICOM = b"\0" * 128 + b"DICM"


@pytest.mark.parametrize(
    ("name", "content", "is_read"),
    [
        ("a.PNG", b"", True),
        ("a.dcm", b"", True),
        ("a.DICOM", b"", True),
        ("IM000001", DICOM, True),
        ("1.2.840.113619.2.5", DICOM, True),
        ("IM000001", b"text", False),
        ("notes.txt", DICOM, False),
        ("DICOMDIR", DICOM, False),
    ],
)
def test_a_file_is_an_image_by_its_suffix_or_by_its_first_bytes(
    tmp_path: Path, name: str, content: bytes, is_read: bool
) -> None:
    (tmp_path / name).write_bytes(content)
    assert is_image(tmp_path / name) is is_read


def test_a_file_without_a_suffix_that_cannot_be_opened_is_none(tmp_path: Path) -> None:
    assert not is_image(tmp_path / "gone")
