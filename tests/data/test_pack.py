import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from clr_hpc.config.pathologies import NEGATIVE, NO_FINDING, PATHOLOGIES, POSITIVE, UNKNOWN
from clr_hpc.config.run import Selection
from clr_hpc.data import shards
from clr_hpc.data.build import build_pack, file_entry
from clr_hpc.data.manifest import PackError, damaged_files, open_manifest, read_manifest
from clr_hpc.data.pack import Pack
from clr_hpc.data.source import ImageRecord, ImageSource, SourceTable
from clr_hpc.data.splits import SeededSplit
from clr_hpc.store.pack_record import label_counts, labels_of, trainable

SIZE = 32


@pytest.fixture
def pack_folder(make_nih_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pack of three shards with a rejected image in the second."""
    monkeypatch.setattr(shards, "SHARD_BYTES", 20 * SIZE**2)
    made = make_nih_folder(50)
    (made.images / "00000009_001.png").write_bytes(b"")
    build_pack(made.source, tmp_path / "pack", SIZE, workers=1)
    return tmp_path / "pack"


def flip_a_bit(path: Path, position: int = -1, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


@pytest.mark.parametrize("shards_in_pack", [1, 3])
def test_gather_takes_rows_in_any_order_and_number(
    make_nih_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shards_in_pack: int
) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", 60 // shards_in_pack * SIZE**2)
    build_pack(make_nih_folder(60).source, tmp_path / "pack", SIZE, workers=1)
    pack = Pack.open(tmp_path / "pack")
    assert len(pack.manifest.shards) == shards_in_pack
    pixels = np.concatenate([np.load(tmp_path / "pack" / entry.file) for entry in pack.manifest.shards])
    rows = np.random.default_rng(0).integers(0, 60, 200)
    gathered = pack.gather(rows)
    assert gathered.dtype == np.uint8
    assert_array_equal(gathered, pixels[rows])
    assert gathered.flags.writeable
    assert pack.gather(np.array([], dtype=np.int64)).shape == (0, SIZE, SIZE)


def test_a_rejected_image_leaves_a_black_row_that_no_index_row_points_to(pack_folder: Path) -> None:
    pack = Pack.open(pack_folder)
    assert len(pack.index) == 49
    assert_array_equal(np.load(pack_folder / "shard-00001.npy")[5], 0)
    assert not ((pack.index["shard"] == 1) & (pack.index["row"] == 5)).any()


def test_splits_and_labels_come_as_arrays(pack_folder: Path) -> None:
    pack = Pack.open(pack_folder)
    parts = [pack.rows_of("train"), pack.rows_of("validation"), pack.rows_of("test")]
    assert sorted(np.concatenate(parts).tolist()) == list(range(49))
    labels = pack.labels("effusion")
    assert labels.dtype == np.int8
    assert_array_equal(labels, pack.index["effusion"].to_numpy(dtype=np.int8))


def test_it_opens_with_numpy_and_pandas_alone(pack_folder: Path) -> None:
    first = np.load(pack_folder / "shard-00000.npy", mmap_mode="r")
    assert (first.shape, first.dtype) == ((20, SIZE, SIZE), np.uint8)


@pytest.mark.parametrize("name", ["shard-00000.npy", "shard-00002.npy", "index.parquet", "rejected.csv"])
def test_a_flipped_bit_is_found_and_named(pack_folder: Path, name: str) -> None:
    flip_a_bit(pack_folder / name)
    with pytest.raises(PackError, match=rf"{name} is damaged: its SHA-256 is .*make it again with 'clr-hpc pack'"):
        Pack.open(pack_folder, verify=True)


def test_a_damaged_index_is_refused_without_verifying(pack_folder: Path) -> None:
    flip_a_bit(pack_folder / "index.parquet", 100)
    pack = Pack.open(pack_folder)
    with pytest.raises(PackError, match=r"index.parquet is damaged"):
        _ = pack.index


def test_every_damaged_file_is_named(pack_folder: Path) -> None:
    manifest = open_manifest(pack_folder)
    (pack_folder / "shard-00001.npy").unlink()
    flip_a_bit(pack_folder / "shard-00002.npy")
    with (pack_folder / "index.parquet").open("ab") as file:
        file.write(b"!")
    told = list(damaged_files(pack_folder, manifest, verify=True))
    assert len(told) == 3
    for damage, expected in zip(
        told, ("shard-00001.npy is missing", "shard-00002.npy is", "index.parquet has"), strict=True
    ):
        assert expected in damage
    with pytest.raises(
        PackError, match=r"shard-00001.npy is missing; .*index.parquet has [\d,]+ bytes instead of"
    ):
        Pack.open(pack_folder)


def test_another_format_version_is_refused(pack_folder: Path) -> None:
    path = pack_folder / "manifest.json"
    path.write_text(path.read_text().replace('"format_version": 2', '"format_version": 3'))
    with pytest.raises(
        PackError, match=r"manifest.json has format version 3, this clr_hpc reads versions 1 to 2; make the"
    ):
        Pack.open(pack_folder)


def test_a_changed_manifest_is_refused(pack_folder: Path) -> None:
    path = pack_folder / "manifest.json"
    values = json.loads(path.read_text())
    values["counts"]["images"] += 1
    path.write_text(json.dumps(values))
    with pytest.raises(PackError, match=r"manifest.json was changed: its checksum is"):
        Pack.open(pack_folder)


@pytest.mark.parametrize("content", [b"[" * 5000, b"\xff", b"[]", b'{"size": ' + b"9" * 5000 + b"}"])
def test_a_manifest_that_is_no_json_is_named(pack_folder: Path, content: bytes) -> None:
    (pack_folder / "manifest.json").write_bytes(content)
    with pytest.raises(PackError, match=r"manifest\.json.*'clr-hpc pack'|manifest\.json has format version"):
        Pack.open(pack_folder)


def test_a_folder_that_is_no_pack_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"is not a pack: it has no manifest.json; make one"):
        Pack.open(tmp_path)


def test_any_flipped_bit_of_the_manifest_is_found(pack_folder: Path) -> None:
    path = pack_folder / "manifest.json"
    whole = path.read_bytes()

    @settings(max_examples=150, deadline=None)
    @given(st.integers(0, len(whole) - 1), st.integers(0, 7))
    def check(position: int, bit: int) -> None:
        path.write_bytes(whole)
        flip_a_bit(path, position, bit)
        with pytest.raises(PackError, match=r"manifest\.json"):
            read_manifest(pack_folder)

    check()


def as_version_1(folder: Path) -> None:
    """Make of a pack what version 1 would have written: the 14 alone, ``no_finding`` left to the reader."""
    index = pq.read_table(folder / "index.parquet").drop_columns(["no_finding"])
    pq.write_table(index, folder / "index.parquet", compression="zstd")
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    del values["findings"], values["checksum"]
    for split in values["counts"]["splits"].values():
        split.pop("views", None)
    values |= {"format_version": 1, "index": file_entry(folder / "index.parquet").model_dump()}
    canonical = json.dumps(values, sort_keys=True, ensure_ascii=False)
    values["checksum"] = hashlib.sha256(canonical.encode()).hexdigest()
    path.write_text(json.dumps(values))


def test_a_pack_of_the_first_version_opens_as_before(pack_folder: Path) -> None:
    newer = Pack.open(pack_folder)
    expected = {label: newer.labels(label) for label in (*PATHOLOGIES, NO_FINDING)}
    as_version_1(pack_folder)
    older = Pack.open(pack_folder, verify=True)
    assert older.manifest.format_version == 1
    assert older.manifest.checksum == json.loads((pack_folder / "manifest.json").read_text())["checksum"]
    for label, values in expected.items():
        assert_array_equal(older.labels(label), values)


@dataclass(frozen=True)
class WithFractures(ImageSource):
    """Five images with a finding that is none of the 14, of which one is said to show nothing."""

    def table(self) -> SourceTable:
        unknown = (UNKNOWN,) * len(PATHOLOGIES)
        labels = [(POSITIVE, None), (NEGATIVE, POSITIVE), (NEGATIVE, None), (UNKNOWN, NEGATIVE), (POSITIVE, 0)]
        records = tuple(
            ImageRecord(
                f"{number}",
                f"{number}",
                (*unknown, fracture, POSITIVE),
                view="PA" if number < 3 else None,
                no_finding=said,
            )
            for number, (fracture, said) in enumerate(labels)
        )
        return SourceTable(records, findings=(*PATHOLOGIES, "fracture", "support_devices"))

    def read(self, record: ImageRecord, size: int) -> tuple[np.ndarray, str]:
        return np.full((size, size), int(record.image), np.uint8), record.image


def test_findings_beyond_the_14_are_packed_and_no_finding_is_what_the_source_says(tmp_path: Path) -> None:
    every = SeededSplit(validation_fraction=0, test_fraction=0)
    manifest = build_pack(WithFractures(), tmp_path / "pack", SIZE, every, workers=1)
    pack = Pack.open(tmp_path / "pack", verify=True)
    assert manifest.findings[14:] == ("fracture", "support_devices")
    assert pack.labels("fracture").tolist() == [1, 0, 0, -1, 1]
    assert pack.labels(NO_FINDING).tolist() == [0, 1, -1, 0, 0], "a fracture is a finding, a device is none"
    counts = manifest.counts.splits["train"].labels
    assert (counts["fracture"].positive, counts[NO_FINDING].unknown) == (2, 1)
    assert trainable(manifest.record, None) == ("fracture",), "devices are on all films, and the 14 are unknown"
    views = manifest.counts.splits["train"].views
    assert {view: each.images for view, each in views.items()} == {"PA": 3, "unknown": 2}
    chosen = Selection(view=["PA"])
    of_pa = manifest.counts.splits["train"].of(chosen).labels["fracture"]
    assert (of_pa.positive, of_pa.negative, of_pa.unknown) == (1, 2, 0)
    assert label_counts(manifest.record, "train", chosen)["fracture"] == of_pa.model_dump()
    assert labels_of(manifest.record)[13:] == ("pleural_thickening", "fracture", "support_devices", NO_FINDING)
