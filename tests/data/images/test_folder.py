from pathlib import Path

import pytest

from clr_hpc.data.images.folder import LocatedRecords, image_paths, locate
from clr_hpc.data.source import ImageRecord, Rejection, SourceError


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def located(folder: Path, *names: str, subset: bool = False) -> LocatedRecords:
    records = [ImageRecord(image=name, patient="1", labels=(0,) * 14) for name in names]
    return locate(records, [], names, folder, subset)


def reasons(found: LocatedRecords) -> dict[str, str]:
    return {rejection.image: rejection.reason for rejection in found.rejections}


def test_bare_names_are_found_in_nested_folders_and_paths_as_they_stand(tmp_path: Path) -> None:
    touch(tmp_path, "images_001/images/b.png", "images_002/images/a.PNG", "p1/view.jpg", "p2/view.jpg")
    found = located(tmp_path, "b.png", "a.PNG", "p1/view.jpg", "p2/view.jpg")
    assert [record.image for record in found.records] == ["a.PNG", "b.png", "p1/view.jpg", "p2/view.jpg"]
    assert [record.path for record in found.records] == [
        tmp_path / "images_002/images/a.PNG",
        tmp_path / "images_001/images/b.png",
        tmp_path / "p1/view.jpg",
        tmp_path / "p2/view.jpg",
    ]
    assert found.rejections == ()


def test_a_file_without_a_row_and_a_name_that_comes_twice_are_rejected(tmp_path: Path) -> None:
    touch(tmp_path, "x/a.png", "y/a.png", "stray.png", "notes.txt")
    found = located(tmp_path, "a.png")
    assert [record.path for record in found.records] == [tmp_path / "x/a.png"]
    assert reasons(found) == {
        "y/a.png": "same file name as x/a.png, which is used",
        "stray.png": "no row in the label table",
    }


def test_a_row_without_a_file_is_rejected_or_in_a_subset_counted(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    assert reasons(located(tmp_path, "a.png", "b.png")) == {"b.png": "no file of this name in the images folder"}
    subset = located(tmp_path, "a.png", "b.png", subset=True)
    assert subset.rejections == ()
    assert subset.rows_without_file == 1


def test_a_rejected_row_keeps_its_reason_where_it_has_a_file_and_its_file_is_not_called_unlabelled(
    tmp_path: Path,
) -> None:
    touch(tmp_path, "a.png")
    rejections = [Rejection("a.png", "unknown label"), Rejection("b.png", "unknown label")]
    found = locate([], rejections, {"a.png", "b.png"}, tmp_path, subset=False)
    assert reasons(found) == {"a.png": "unknown label", "b.png": "no file of this name in the images folder"}


def test_links_are_followed_and_a_loop_ends(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/a.png", "images/b.png")
    (tmp_path / "images/link").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/loop").symlink_to(tmp_path / "images")
    assert image_paths(tmp_path / "images") == ["b.png", "link/a.png"]


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="is not a folder"):
        image_paths(tmp_path / "absent")
