from pathlib import Path

import pytest

from clr_hpc.data.images.listing import ImageFile, list_files
from clr_hpc.data.source import SourceError


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def names(images: Path | list[Path]) -> list[str]:
    return [file.name for file in list_files(images).images]


def test_files_are_listed_by_whether_they_are_read(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.PNG", "b.jpeg", "x/c.nii", "notes.txt", "IM0001")
    found = list_files(tmp_path)
    assert [file.name for file in found.images] == ["b.jpeg", "x/a.PNG"]
    assert [file.name for file in found.others] == ["IM0001", "notes.txt", "x/c.nii"]


def test_links_are_followed_and_a_loop_ends(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.png", "images/b.png")
    (tmp_path / "images/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/loop").symlink_to(tmp_path / "images")
    assert names(tmp_path / "images") == ["b.png", "link/a.png"]


def test_several_folders_keep_their_own_names_in_any_order(tmp_path: Path) -> None:
    touch(tmp_path, "train/p1/a.png", "valid/p1/a.png")
    folders = [tmp_path / "valid", tmp_path / "train"]
    assert list_files(folders) == list_files(folders[::-1])
    assert list_files(folders).images == (
        ImageFile(tmp_path / "train", "p1/a.png"),
        ImageFile(tmp_path / "valid", "p1/a.png"),
    )


def test_a_folder_inside_another_is_listed_once(tmp_path: Path) -> None:
    touch(tmp_path, "x/y/a.png", "x/b.png")
    assert names([tmp_path / "x/y", tmp_path / "x", tmp_path / "x"]) == ["b.png", "y/a.png"]


def test_patterns_name_folders_or_files(tmp_path: Path) -> None:
    touch(tmp_path, "images_001/images/a.png", "images_002/images/b.png", "other/c.png")
    assert names(tmp_path / "images_*") == ["images_001/images/a.png", "images_002/images/b.png"]
    assert names(tmp_path / "**/[bc].png") == ["images_002/images/b.png", "other/c.png"]
    (tmp_path / "brackets[1]").mkdir()
    touch(tmp_path, "brackets[1]/d.png")
    assert names(tmp_path / "brackets[1]") == ["d.png"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("absent", "absent is not a folder; give the one that holds the images"),
        ("absent_*", r"nothing fits .*absent_\*; give the folder"),
        ("a.png", "a.png is not a folder"),
    ],
)
def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path, given: str, message: str) -> None:
    touch(tmp_path, "a.png")
    with pytest.raises(SourceError, match=message):
        list_files(tmp_path / given)
