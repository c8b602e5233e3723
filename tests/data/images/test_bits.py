import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from clr_hpc.data.build import build_pack
from clr_hpc.data.images import bits as bits_module
from clr_hpc.data.images.bits import about, bits_for, peaks_of
from clr_hpc.data.images.encoded import decode
from clr_hpc.data.images.gray import to_gray
from clr_hpc.data.pack import Pack
from clr_hpc.data.source import SourceError
from clr_hpc.data.sources.table import TableSource

TWELVE = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
TWELVE[0, 0] = 4095


def save(path: Path, samples: np.ndarray, **options: object) -> Path:
    Image.fromarray(samples).save(path, **options)
    return path


def with_chunk(png: bytes, kind: bytes, content: bytes) -> bytes:
    """Return a PNG with a chunk more behind its header."""
    chunk = struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return png[:33] + chunk + png[33:]


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., TableSource]:
    """Write images of a table and return its source."""

    def write(images: dict[str, np.ndarray], **options: str) -> TableSource:
        (tmp_path / "img").mkdir(exist_ok=True)
        for name, samples in images.items():
            save(tmp_path / "img" / name, samples)
        rows = "".join(f"{name},{number % 2}\n" for number, name in enumerate(images))
        (tmp_path / "labels.csv").write_text(f"image,effusion\n{rows}")
        return TableSource(
            tmp_path / "img", tmp_path / "labels.csv", image_column="image", image_is_patient=True, **options
        )

    return write


def test_a_collection_is_read_by_the_fewest_bits_that_hold_its_largest_sample(
    folder: Callable[..., TableSource], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    dim = TWELVE // 4
    source = folder({"a.png": dim, "b.png": TWELVE, "c.tif": dim[::-1], "d.png": (dim // 8).astype(np.uint8)})
    manifest = build_pack(source, tmp_path / "pack", 64, workers=1)
    assert (manifest.source["bits"], manifest.source["bits_files"]) == (12, 3)
    assert [record.message for record in caplog.records if "16-bit" in record.message] == [
        "3 images have 16-bit samples and state no number of bits; their largest sample is 4095, so they are read "
        "as 12 bits; --bits sets another"
    ]
    pack = Pack.open(tmp_path / "pack")
    a, b, _, d = pack.gather(np.arange(4))
    assert_array_equal(b, np.floor(TWELVE / 4095 * 255 + 0.5))
    assert_array_equal(a, np.floor(dim / 4095 * 255 + 0.5))
    assert_array_equal(d, dim // 8)


def test_the_bits_may_be_given_for_all_or_each_image_be_read_by_its_own_range(
    folder: Callable[..., TableSource], tmp_path: Path, rejected: Callable[[Path], dict[str, str]]
) -> None:
    images = {"a.png": TWELVE // 4, "b.png": TWELVE}
    build_pack(folder(images, bits="10"), tmp_path / "ten", 64, workers=1)
    assert rejected(tmp_path / "ten") == {
        "b.png": "a sample of 4095 needs more than 10 bits; a larger --bits reads it"
    }
    manifest = build_pack(folder(images, bits="image"), tmp_path / "own", 64, workers=1)
    assert manifest.source["bits"] == "image"
    assert Pack.open(tmp_path / "own").gather(np.arange(2)).max(axis=(1, 2)).tolist() == [255, 255]
    for wrong in ("7", "17", "twelve"):
        with pytest.raises(SourceError, match=f"--bits {wrong}: give a number from 8 to 16, or image"):
            folder(images, bits=wrong)


def test_eight_bit_files_are_not_looked_through(
    folder: Callable[..., TableSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = folder({"a.png": TWELVE.astype(np.uint8), "b.png": (TWELVE >> 4).astype(np.uint8)})
    monkeypatch.setattr(bits_module, "peak_of", None)
    assert "bits" not in build_pack(source, tmp_path / "pack", 64, workers=1).source


def test_what_was_looked_through_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [save(tmp_path / f"{name}.png", TWELVE // divisor) for name, divisor in (("a", 1), ("b", 4))]
    memory = tmp_path / "found.json"
    assert peaks_of(paths[:1], 1, memory) == [4095]
    read: list[Path] = []
    monkeypatch.setattr(bits_module, "peak_of", lambda path: read.append(path) or 7)
    assert peaks_of(paths, 1, memory) == [4095, 7]
    assert read == [paths[1]]


@pytest.mark.parametrize(
    ("peak", "bits"), [(0, 8), (255, 8), (256, 10), (4095, 12), (4096, 14), (16384, 16), (65535, 16)]
)
def test_the_fewest_bits(peak: int, bits: int) -> None:
    assert bits_for([peak, 0]) == bits


def test_a_few_files_that_make_all_others_dark_are_reported_and_full_range_is_not() -> None:
    assert about([60000] * 100) is None
    assert about([]) is None
    assert about([4095] * 99 + [60000]) == (
        "100 images have 16-bit samples and state no number of bits; 1 of them need 16 bits and make the others "
        "dark, most of which need 12; --bits 12 reads those by their range and rejects the larger"
    )


def test_a_png_that_states_its_bits_is_read_by_them(tmp_path: Path) -> None:
    plain = save(tmp_path / "a.png", TWELVE // 2).read_bytes()
    stated = decode(with_chunk(plain, b"sBIT", b"\x0c"))
    assert stated.bits == 12
    assert_array_equal(to_gray(stated), to_gray(decode(plain), 12))
    scaled_up = save(tmp_path / "b.png", TWELVE << 4).read_bytes()  # as the PNG standard wants it
    assert_array_equal(to_gray(decode(with_chunk(scaled_up, b"sBIT", b"\x0c"))), to_gray(decode(scaled_up)))


def test_a_tiff_that_states_its_largest_sample_is_read_by_its_bits(tmp_path: Path) -> None:
    path = save(tmp_path / "a.tif", TWELVE // 2, tiffinfo={281: 4095})
    assert_array_equal(to_gray(decode(path.read_bytes())), to_gray(decode(path.read_bytes()), 12))
    assert peaks_of([path], 1, tmp_path / "found.json") == []


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_tiff_negative_is_turned_over(tmp_path: Path, dtype: type) -> None:
    samples = (TWELVE >> 4).astype(dtype) * (257 if dtype == np.uint16 else 1)
    path = save(tmp_path / "a.tif", samples)
    data = bytearray(path.read_bytes())
    tag = data.index(struct.pack("<HHI", 262, 3, 1))  # PhotometricInterpretation: one short
    data[tag + 8 : tag + 10] = b"\0\0"
    assert_array_equal(to_gray(decode(bytes(data))), 255 - (TWELVE >> 4))
