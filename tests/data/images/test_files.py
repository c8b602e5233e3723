import io
import itertools
import random
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from clr_hpc.data.images.encoded import decode
from clr_hpc.data.images.files import read_image_file
from clr_hpc.data.images.gray import fit_square, to_gray
from clr_hpc.data.source import RejectedImageError

GRAY = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
SMOOTH = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gray_of(data: bytes) -> np.ndarray:
    return to_gray(decode(data))


@pytest.mark.parametrize(
    ("kind", "mode"),
    [
        *itertools.product(("PNG", "TIFF"), ("L", "LA", "P", "RGB", "RGBA")),
        *itertools.product(("BMP", "GIF"), ("L", "P", "RGB")),
    ],
)
def test_every_way_to_store_a_gray_picture_gives_the_same_pixels(kind: str, mode: str) -> None:
    assert_array_equal(gray_of(encoded(Image.fromarray(GRAY).convert(mode), kind)), GRAY)


def test_a_coloured_jpeg_of_a_gray_picture_is_read_as_gray() -> None:
    image = Image.fromarray(SMOOTH)
    from_colour = gray_of(encoded(image.convert("RGB"), "JPEG", quality=95))
    from_gray = gray_of(encoded(image, "JPEG", quality=95))
    assert np.abs(from_colour.astype(int) - from_gray.astype(int)).max() <= 1


def test_one_bit_becomes_black_and_white() -> None:
    image = Image.fromarray(GRAY).convert("1")
    assert set(np.unique(gray_of(encoded(image)))) == {0, 255}
    assert_array_equal(gray_of(encoded(image)), gray_of(encoded(image, "TIFF")))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_are_scaled_by_their_full_range(kind: str) -> None:
    image = Image.fromarray(GRAY.astype(np.uint16) * 257)
    assert_array_equal(gray_of(encoded(image, kind)), GRAY)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_samples_are_scaled_by_their_bits_and_larger_ones_are_refused(bits: int) -> None:
    largest = (1 << bits) - 1
    samples = np.linspace(0, largest, GRAY.size).astype(np.uint16).reshape(GRAY.shape)
    data = encoded(Image.fromarray(samples))
    assert_array_equal(to_gray(decode(data), bits), np.floor(samples / largest * 255 + 0.5))
    if bits > 8:
        with pytest.raises(RejectedImageError, match=f"a sample of {largest} needs more than {bits - 1} bits"):
            to_gray(decode(data), bits - 1)


def test_an_image_is_scaled_by_its_own_largest_sample_where_that_is_asked() -> None:
    samples = np.array([[0, 500, 1000]], np.uint16)
    assert to_gray(decode(encoded(Image.fromarray(samples))), None).tolist() == [[0, 128, 255]]


def test_colours_are_refused() -> None:
    colours = np.stack([GRAY, GRAY // 2, GRAY], axis=2)
    with pytest.raises(RejectedImageError, match=r"coloured: channels differ by up to 12[0-9] of 255"):
        gray_of(encoded(Image.fromarray(colours)))


@pytest.mark.parametrize("channel", range(4))
def test_one_differing_pixel_of_an_rgba_picture_counts(channel: int) -> None:
    samples = np.dstack([np.full((200, 100), 100, np.uint8)] * 3 + [np.full((200, 100), 255, np.uint8)])
    samples[-1, -1, channel] = 0
    with pytest.raises(RejectedImageError, match="transparent" if channel == 3 else "coloured: .* by up to 100"):
        gray_of(encoded(Image.fromarray(samples)))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_refused(mode: str) -> None:
    image = Image.fromarray(GRAY).convert(mode)
    image.putalpha(200)
    with pytest.raises(RejectedImageError, match="transparent"):
        gray_of(encoded(image))


def test_a_float_image_and_a_film_of_several_are_refused() -> None:
    with pytest.raises(RejectedImageError, match="mode F"):
        decode(encoded(Image.fromarray(GRAY.astype(np.float32)), "TIFF"))
    page = Image.fromarray(GRAY)
    with pytest.raises(RejectedImageError, match="holds 2 images"):
        decode(encoded(page, "TIFF", save_all=True, append_images=[page]))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP", "PNG, 16 bits", "TIFF, 16 bits"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_an_image_turned_by_its_exif_note_is_read_upright(kind: str, orientation: int) -> None:
    """Each orientation undoes what it says was done, as Pillow does it."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}.get(orientation)
    upright = Image.fromarray(SMOOTH[:, :32] + 2 * SMOOTH[:, 32:])
    stored = upright if undo is None else upright.transpose(Image.Transpose(undo))
    if "16" in kind:
        stored = Image.fromarray(np.asarray(stored).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    turned = gray_of(encoded(stored, kind.partition(",")[0], exif=exif, **options))
    assert np.abs(turned.astype(int) - np.asarray(upright)).max() <= (2 if kind == "JPEG" else 0)


def test_a_png_that_says_behind_its_pixels_how_it_is_turned_is_read_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encoded(Image.fromarray(SMOOTH), exif=exif)
    start = data.index(b"eXIf") - 4
    end = start + 12 + int.from_bytes(data[start : start + 4], "big")
    moved = data[:start] + data[end:-12] + data[start:end] + data[-12:]
    assert_array_equal(gray_of(moved), SMOOTH[::-1, ::-1])


def test_an_interlaced_png_is_read_and_nothing_is_printed(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    assert_array_equal(gray_of(interlaced(GRAY)), GRAY)
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def interlaced(gray: np.ndarray) -> bytes:
    """Return a PNG of Adam7's seven passes, which Pillow does not write."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    lines = b""
    for left, top, across, down in passes:
        lines += b"".join(b"\0" + row.tobytes() for row in gray[top::down, left::across])
    height, width = gray.shape
    chunks = ((b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 1)), (b"IDAT", zlib.compress(lines)))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in (*chunks, (b"IEND", b""))
    )


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404 Not Found</html>", "not an image"),
        (b"\x89PNG\r\n\x1a\n", "truncated"),
        (encoded(Image.fromarray(GRAY))[:-1], "truncated"),
        (encoded(Image.fromarray(GRAY))[:-20], "truncated"),
    ],
)
def test_what_is_no_whole_image_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(RejectedImageError, match=reason):
        decode(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_a_truncated_image_is_never_half_decoded(kind: str) -> None:
    data = encoded(Image.fromarray(GRAY), kind)
    for length in range(0, len(data) - 200, 97):
        with pytest.raises(RejectedImageError):
            decode(data[:length])


def test_a_bomb_is_refused_by_its_header() -> None:
    data = bytearray(encoded(Image.fromarray(GRAY)))
    data[16:20] = (40_000).to_bytes(4, "big")
    data[20:24] = (40_000).to_bytes(4, "big")
    with pytest.raises(RejectedImageError, match="40000 × 40000 pixels are more than"):
        decode(bytes(data))


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(["PNG", "JPEG", "TIFF", "GIF", "WEBP"]), seed=st.integers(0, 2**32))
def test_damage_ends_in_pixels_or_a_rejection_and_in_png_never_in_other_pixels(
    caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], kind: str, seed: int
) -> None:
    rng = random.Random(seed)
    data = bytearray(encoded(Image.fromarray(SMOOTH), kind))
    for _ in range(rng.choice((1, 1, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    try:
        samples = decode(bytes(data)).values
    except RejectedImageError:
        return
    finally:
        assert caplog.records == []
        assert capfd.readouterr() == ("", "")
    if kind == "PNG":
        assert_array_equal(samples, SMOOTH)


def test_shrinking_averages_areas() -> None:
    blocks = GRAY[:60, :60]
    mean = blocks.reshape(15, 4, 15, 4).mean(axis=(1, 3))
    assert np.abs(fit_square(blocks, 15) - mean).max() <= 0.5
    smooth = np.tile(np.linspace(0, 255, 100).astype(np.uint8), (100, 1))
    assert abs(float(fit_square(smooth, 30).mean()) - float(smooth.mean())) < 0.5


def test_what_is_not_square_is_centred_on_black_and_keeps_its_shape() -> None:
    square = fit_square(np.full((50, 100), 200, np.uint8), 20)
    assert square.shape == (20, 20)
    assert_array_equal(square[5:15], 200)
    assert_array_equal(square[:5], 0)
    assert_array_equal(square[15:], 0)
    assert_array_equal(fit_square(np.full((100, 50), 200, np.uint8), 20), square.T)


def test_what_is_smaller_than_the_pack_is_refused_and_what_has_its_size_is_kept() -> None:
    assert_array_equal(fit_square(SMOOTH, 64), SMOOTH)
    with pytest.raises(RejectedImageError, match="64 × 64 is smaller than the 65 × 65 of the pack"):
        fit_square(SMOOTH, 65)


def test_a_file_that_cannot_be_opened_is_rejected(tmp_path: Path) -> None:
    with pytest.raises(RejectedImageError, match="can't be opened: No such file"):
        read_image_file(tmp_path / "gone.png", 64)
    with pytest.raises(RejectedImageError, match="can't be opened: Is a directory"):
        read_image_file(tmp_path, 64)


def test_real_rgba_and_gray_originals_shrink_to_the_published_small_ones(nih_mini: Path) -> None:
    originals = sorted((nih_mini / "originals").glob("*.png"))
    modes = set()
    for path in originals:
        pixels, sha256 = read_image_file(path, 256)
        with Image.open(path) as image:
            modes.add(image.mode)
        small = np.asarray(Image.open(nih_mini / "images" / path.name))
        assert np.abs(pixels.astype(int) - small.astype(int)).max() <= 1
        assert len(sha256) == 64
    assert modes == {"L", "RGBA"}
