import io
import itertools
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal
from PIL import Image

from clr_hpc.data.images.files import decode, fit_square, read_image_file, to_gray
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


def test_twelve_bits_in_a_sixteen_bit_file_are_refused() -> None:
    image = Image.fromarray(GRAY.astype(np.uint16) * 16)
    with pytest.raises(RejectedImageError, match=r"up to 4080 only: probably 12 bits"):
        gray_of(encoded(image))


def test_colours_are_refused() -> None:
    colours = np.stack([GRAY, GRAY // 2, GRAY], axis=2)
    with pytest.raises(RejectedImageError, match=r"coloured: channels differ by up to 12[0-9] of 255"):
        gray_of(encoded(Image.fromarray(colours)))


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


def test_an_image_turned_by_its_exif_note_is_read_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # shown after a quarter turn clockwise
    turned = gray_of(encoded(Image.fromarray(SMOOTH[:, :32]), "JPEG", exif=exif, quality=95))
    assert turned.shape == (32, 64)


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
@given(st.sampled_from(["PNG", "JPEG", "TIFF", "GIF"]), st.integers(0, 2**32))
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_damage_ends_in_pixels_or_a_rejection_and_in_png_never_in_other_pixels(kind: str, seed: int) -> None:
    rng = random.Random(seed)
    data = bytearray(encoded(Image.fromarray(SMOOTH), kind))
    for _ in range(rng.choice((1, 1, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    try:
        samples = decode(bytes(data))
    except RejectedImageError:
        return
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
    with pytest.raises(RejectedImageError, match="64 × 64 is smaller than the pack's 65"):
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
