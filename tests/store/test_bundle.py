import hashlib
import json
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given
from invented_study import InventedStudy
from made_records import bundle
from mutation import damaged_json, times

from clr_hpc.store import layout
from clr_hpc.store.bundle import BundleFiles, checksum_of, is_bundle, read_bundle, without_paths, zip_folder
from clr_hpc.store.records import Damaged

WEIGHTS = "weights/edema.seed0.0.safetensors"


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return InventedStudy(tmp_path_factory.mktemp("invented")).runs[0].model_dump(mode="json")


def written(folder: Path, record: dict[str, Any], weights: bytes = b"8 bytes.") -> Path:
    (folder / "weights").mkdir(parents=True)
    (folder / WEIGHTS).write_bytes(weights)
    (folder / layout.BUNDLE).write_text(json.dumps(record))
    return folder


def test_what_the_checksum_does_not_find_is_found_by_the_schema(spec: Any, tmp_path: Path) -> None:
    sound = bundle(spec)
    folder = written(tmp_path / "b", sound)
    assert isinstance(read_bundle(folder), dict)

    @times(200)
    @given(damaged_json(json.dumps(sound).encode()))
    def check(content: bytes) -> None:
        try:
            values = json.loads(content)
            values["checksum"] = checksum_of(values)
            content = json.dumps(values).encode()
        except (ValueError, TypeError, AttributeError, RecursionError):
            pass
        (folder / layout.BUNDLE).write_bytes(content)
        found = read_bundle(folder)
        assert isinstance(found, dict | Damaged)
        for setting in found["settings"] if isinstance(found, dict) else ():
            for name in setting["models"][0]["weights"]:
                inside = (folder / name).resolve().is_relative_to(folder.resolve())
                assert inside

    check()


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format_version": 2}, "it has format version 2, and this clr_hpc reads 1"),
        ({"files": {}}, f"files lacks {WEIGHTS}, which belongs to edema"),
        ({"files": {"../../secret": {"bytes": 1, "sha256": "0" * 64}}}, "String should match pattern"),
        ({"settings": []}, "settings: List should have at least 1 item"),
    ],
)
def test_a_bundle_that_is_none_is_damaged(changes: dict[str, Any], reason: str, spec: Any, tmp_path: Path) -> None:
    found = read_bundle(written(tmp_path / "b", bundle(spec, **changes)))
    assert isinstance(found, Damaged)
    assert reason in str(found)


def test_a_changed_number_is_found(spec: Any, tmp_path: Path) -> None:
    record = bundle(spec)
    record["settings"][0]["threshold"] = 0.5
    found = read_bundle(written(tmp_path / "b", record))
    assert isinstance(found, Damaged)
    assert "it was changed: its checksum is" in found.reason


@pytest.mark.parametrize("packed", [False, True])
def test_files_are_those_of_the_manifest(packed: bool, tmp_path: Path, spec: Any) -> None:
    sound = hashlib.sha256(b"8 bytes.").hexdigest()
    folder = written(tmp_path / "b", bundle(spec))
    path = tmp_path / "b.zip" if packed else folder
    if packed:
        zip_folder(folder, path)
        first = path.read_bytes()
        zip_folder(folder, path)
        assert path.read_bytes() == first
    assert is_bundle(path)
    assert isinstance(read_bundle(path), dict)
    files = BundleFiles(path)
    assert files.read(WEIGHTS, {"bytes": 8, "sha256": sound}) == b"8 bytes."
    assert files.read("weights/absent") is None
    for state, reason in (
        ({"bytes": 7, "sha256": sound}, "bytes, and bundle.json says 7"),
        ({"bytes": 8, "sha256": "0" * 64}, f"its SHA-256 is {sound}, and bundle.json says 000"),
    ):
        found = files.read(WEIGHTS, state)  # type: ignore[arg-type]
        assert isinstance(found, Damaged)
        assert reason in found.reason


def test_a_file_that_is_no_archive_is_damaged_and_an_absent_one_is_none(tmp_path: Path) -> None:
    (tmp_path / "b.zip").write_text("no archive")
    found = read_bundle(tmp_path / "b.zip")
    assert isinstance(found, Damaged)
    assert "it can't be read: File is not a zip file" in found.reason
    assert read_bundle(tmp_path / "absent.zip") is None
    with ZipFile(tmp_path / "empty.zip", "w"):
        assert read_bundle(tmp_path / "absent") is None
    assert read_bundle(tmp_path / "empty.zip") is None


def test_of_files_that_a_spec_names_the_names_alone_are_kept() -> None:
    spec = {"start": [{"initialisation": {"file": "/home/ada/weights.pt"}}], "file": None, "name": "timm/resnet18"}
    assert without_paths(spec) == {
        "start": [{"initialisation": {"file": "weights.pt"}}],
        "file": None,
        "name": "timm/resnet18",
    }
