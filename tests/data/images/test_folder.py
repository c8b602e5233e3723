from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.data.images.folder import LocatedRecords, locate
from clr_hpc.data.source import ImageRecord, Rejection, SourceError


def touch(folder: Path, *paths: str) -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()


def record(name: str, label: int = 0) -> ImageRecord:
    return ImageRecord(image=name, patient="1", labels=(label,) * 14)


def located(folder: Path | tuple[Path, ...], *names: str, subset: bool = False) -> LocatedRecords:
    return locate([record(name) for name in names], [], names, folder, subset)


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


def test_a_file_without_a_row_is_rejected(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "y/a.png", "stray.png", "notes.txt")
    found = located(tmp_path, "a.png")
    assert [record.path for record in found.records] == [tmp_path / "a.png"]
    assert reasons(found) == {
        "y/a.png": "same file name as a.png, which is used",
        "stray.png": "no row in the label table",
    }


@pytest.mark.parametrize("subset", [False, True])
def test_a_name_that_fits_two_files_is_rejected_and_names_both(tmp_path: Path, subset: bool) -> None:
    touch(tmp_path, "x/a.png", "y/a.png", "b.png")
    found = located(tmp_path, "a.png", "b.png", subset=subset)
    assert [record.image for record in found.records] == ["b.png"]
    undecided = "the row of 'a.png' may mean this file or another"
    assert reasons(found) == {
        "a.png": "fits 2 files: x/a.png, y/a.png; write its path from the images folder",
        "x/a.png": undecided,
        "y/a.png": undecided,
    }


def test_of_many_files_that_a_name_fits_some_are_named(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{folder}/a.png" for folder in "stuvw"), "b.png")
    assert reasons(located(tmp_path, "a.png", "b.png"))["a.png"] == (
        "fits 5 files: s/a.png, t/a.png, u/a.png, …; write its path from the images folder"
    )


def test_each_kind_of_name_is_said_once_with_its_count(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.png", "b.png", "c.png", "p/q/d.png", "p/e.png")
    found = located(tmp_path, "./a.png", "B.PNG", "C", "q/d.png", "e.png")
    assert found.names == {"below": 1, "case": 2, "fewer_folders": 1, "spelling": 1, "suffix": 1}
    assert [record.message for record in caplog.records] == [
        "1 of 5 image names are written with ./, backslashes or a leading slash: './a.png' is a.png",
        "2 of 5 image names have other capitals than their files: 'B.PNG' is b.png",
        "1 of 5 image names have another suffix than their files, or none: 'C' is c.png",
        "1 of 5 image names lack folders that their files are in: 'q/d.png' is p/q/d.png",
    ]


def test_names_as_the_files_have_them_are_not_commented(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "a.png", "images_001/b.png")
    assert located(tmp_path, "a.png", "b.png").names == {"below": 1}
    assert caplog.records == []


def test_rows_of_two_spellings_of_one_file(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png", "c.png")
    labels = {"a.png": 1, "./a.png": 1, "b.png": 1, "./b.png": 0, "c.png": 1, "C.png": 0}
    found = locate([record(*one) for one in labels.items()], [], labels, tmp_path, subset=False)
    assert [record.image for record in found.records] == ["./a.png", "c.png"]
    differ = "'./b.png' and 'b.png' both mean b.png, but their rows differ"
    assert reasons(found) == {
        "a.png": "means a.png, which the row of './a.png' has",
        "b.png": differ,
        "./b.png": differ,
        "C.png": "means c.png, which the row of 'c.png' has",  # the exact name wins
    }


def test_two_images_of_which_one_file_is_there_are_both_rejected(tmp_path: Path) -> None:
    touch(tmp_path, "view1.png", "b.png")
    labels = {"patient1/view1.png": 1, "patient2/view1.png": 0, "b.png": 1}
    found = locate([record(*one) for one in labels.items()], [], labels, tmp_path, subset=False)
    assert [record.image for record in found.records] == ["b.png"]
    differ = "'patient1/view1.png' and 'patient2/view1.png' both mean view1.png, but their rows differ"
    assert reasons(found) == {"patient1/view1.png": differ, "patient2/view1.png": differ}


def test_another_spelling_of_a_rejected_row_is_rejected_too(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    rejections = [Rejection("a.png", "rows 2, 3 of the table contradict one another")]
    found = locate(
        [record("./a.png"), record("b.png")], rejections, {"a.png", "./a.png", "b.png"}, tmp_path, False
    )
    assert [record.image for record in found.records] == ["b.png"]


def test_several_folders(tmp_path: Path) -> None:
    touch(tmp_path, "train/p1/a.png", "valid/p1/a.png", "valid/p2/b.png", "valid/stray.png")
    folders = (tmp_path / "train", tmp_path / "valid")
    found = located(folders, "train/p1/a.png", "valid/p1/a.png", "p2/b.png", "p1/a.png")
    assert [record.path for record in found.records] == [
        tmp_path / "valid/p2/b.png",
        tmp_path / "train/p1/a.png",
        tmp_path / "valid/p1/a.png",
    ]
    assert reasons(found) == {
        "p1/a.png": f"fits 2 files: {tmp_path}/train/p1/a.png, {tmp_path}/valid/p1/a.png; "
        "write its path from the images folder",
        f"{tmp_path}/valid/stray.png": "no row in the label table",
    }


@pytest.mark.parametrize(
    ("file", "name", "reason"),
    [
        ("b.nii", "b.nii", "b.nii is there, but .nii is not read"),
        ("b.nii", "b.png", "b.nii is there, but .nii is not read"),
        ("x/B.nii", "b", "x/B.nii is there, but .nii is not read"),
        ("b", "b", "b is there, but a file without a suffix is not read"),
        ("b.json", "b.png", "no file of this name in the images folder"),  # about the image, not the image
    ],
)
def test_a_file_of_a_kind_that_is_not_read_is_named(tmp_path: Path, file: str, name: str, reason: str) -> None:
    touch(tmp_path, "a.png", file)
    assert reasons(located(tmp_path, "a.png", name)) == {name: reason}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["z.png", "y.nii"],
            "'00001': no file of this name in the images folder; an image that is there is 'z.png'",
        ),
        (
            ["00001.nii"],
            "'00001': 00001.nii is there, but .nii is not read; a file that is there, though of no kind that is "
            "read, is '00001.nii'",
        ),
        ([], "'00001': no file of this name in the images folder; there is no file in it"),
    ],
)
@pytest.mark.parametrize("subset", [False, True])
def test_where_nothing_fits_the_error_quotes_a_name_and_a_file(
    tmp_path: Path, files: list[str], message: str, subset: bool
) -> None:
    touch(tmp_path, *files)
    with pytest.raises(SourceError) as error:
        located(tmp_path, "00002", "00001", subset=subset)
    assert str(error.value) == (
        f"{tmp_path} has none of the 2 images that the table names, such as {message}. "
        "Give the folder that the table's names start from, or the column that has the names"
    )


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


names = st.lists(
    st.sampled_from(["a.png", "./a.png", "A.png", "a", "x/a.png", "y/a.png", "b.png", "x/b.jpg", "B", "c.nii"]),
    min_size=1,
    unique=True,
)
paths = st.lists(st.sampled_from(["a.png", "x/a.png", "y/A.PNG", "b.png", "x/b.jpg", "c.nii"]), unique=True)


@given(names=names, paths=paths, seed=st.integers(0, 5))
def test_the_order_of_rows_changes_nothing_and_every_row_and_file_is_accounted_for(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], paths: list[str], seed: int
) -> None:
    folder = tmp_path_factory.mktemp("tree")
    touch(folder, *paths)
    records = [record(name, label=(position + seed) % 2) for position, name in enumerate(names)]

    def outcome(order: int) -> LocatedRecords | str:
        try:
            return locate(records[::order], [], names[::order], folder, subset=False)
        except SourceError as error:
            return str(error)

    found = outcome(1)
    assert found == outcome(-1)
    if isinstance(found, str):
        return
    used = [record.image for record in found.records]
    assert sorted([*used, *(set(reasons(found)) & set(names) - set(used))]) == sorted(names)
    taken = [record.path for record in found.records]
    assert len(taken) == len(set(taken))
    images = {path for path in paths if not path.endswith(".nii")}
    seen = {str(path.relative_to(folder)) for path in taken if path}
    assert images - seen <= set(reasons(found)) | {
        path for path in images if "mean " + path in str(found.rejections)
    }
