import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_dicom import LOSSLESS, lookup_table, picture, write_dicom
from numpy.testing import assert_array_equal
from pydicom import Dataset, dcmread
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence
from pydicom.uid import UID, JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLosslessSV1

from clr_hpc.data.images.dicom import read_dicom
from clr_hpc.data.images.dicom_tags import DicomTags, read_tags, why_not_frontal
from clr_hpc.data.images.files import read_image_file
from clr_hpc.data.source import RejectedImageError

WINDOW = {"WindowCenter": 1500, "WindowWidth": 2000}
RESCALED = {"RescaleSlope": 2, "RescaleIntercept": -1000, "RescaleType": "US"}
SIGNED = picture().astype(np.int16) - 2048


@pytest.fixture(scope="session")
def real_dicom(nih_mini: Path) -> Path:
    """Six real DICOM files."""
    return nih_mini.parent / "dicom"


def chain_of_pydicom(path: Path, pixels: np.ndarray | None = None) -> np.ndarray:
    """Return what pydicom shows of a file, from all of its output range to 0 … 255."""
    dataset = dcmread(path)
    shown = apply_voi_lut(apply_modality_lut(dataset.pixel_array if pixels is None else pixels, dataset), dataset)
    if "VOILUTSequence" in dataset:
        low, high = 0, 2 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "ModalityLUTSequence" in dataset:
        low, high = 0, 2 ** dataset.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    else:
        half = 2 ** (dataset.BitsStored - 1)
        ends = np.array([-half, half - 1] if dataset.PixelRepresentation else [0, 2 * half - 1])
        low, high = (float(end) for end in apply_modality_lut(ends, dataset))
    gray = np.floor((shown - low) / (high - low) * 255 + 0.5).astype(np.uint8)
    return 255 - gray if dataset.PhotometricInterpretation == "MONOCHROME1" else gray


def read(path: Path, window: str = "first") -> np.ndarray:
    return read_dicom(path.read_bytes(), window)[0]


def reason(path: Path, window: str = "first") -> str:
    with pytest.raises(RejectedImageError) as error:
        read(path, window)
    return str(error.value)


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_every_lossless_way_to_store_pixels_gives_the_same(tmp_path: Path, syntax: UID, bits: int) -> None:
    pixels = write_dicom(tmp_path / "a.dcm", syntax=syntax, bits=bits)
    assert_array_equal(read(tmp_path / "a.dcm"), np.floor(pixels / ((1 << bits) - 1) * 255 + 0.5))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
def test_signed_pixels_are_read_from_every_way_to_store_them(tmp_path: Path, syntax: UID) -> None:
    write_dicom(tmp_path / "signed.dcm", SIGNED, syntax, **WINDOW, **RESCALED)
    write_dicom(tmp_path / "plain.dcm", SIGNED, **WINDOW, **RESCALED)
    assert_array_equal(read(tmp_path / "signed.dcm"), chain_of_pydicom(tmp_path / "plain.dcm"))


@pytest.mark.parametrize("syntax", LOSSLESS, ids=lambda syntax: syntax.name)
@pytest.mark.parametrize("bits", [8, 12])
def test_odd_numbers_of_pixels_are_read(tmp_path: Path, syntax: UID, bits: int) -> None:
    pixels = write_dicom(tmp_path / "a.dcm", picture(bits, rows=63, columns=65), syntax, bits)
    assert_array_equal(read(tmp_path / "a.dcm"), np.floor(pixels / ((1 << bits) - 1) * 255 + 0.5))


def test_twelve_bits_of_lossy_jpeg_are_read(tmp_path: Path) -> None:
    write_dicom(tmp_path / "exact.dcm")
    write_dicom(tmp_path / "lossy.dcm", syntax=JPEGExtended12Bit)
    difference = np.abs(read(tmp_path / "lossy.dcm").astype(int) - read(tmp_path / "exact.dcm"))
    assert difference.max() <= 1


@pytest.mark.parametrize(
    "made",
    [
        {},
        WINDOW,
        {**WINDOW, "PhotometricInterpretation": "MONOCHROME1"},
        {"PhotometricInterpretation": "MONOCHROME1"},
        {**WINDOW, "VOILUTFunction": "SIGMOID"},
        {**WINDOW, "VOILUTFunction": "LINEAR_EXACT"},
        {**WINDOW, **RESCALED},
        {**WINDOW, **RESCALED, "pixels": SIGNED},
        {"pixels": SIGNED},
        {"pixels": SIGNED, **RESCALED},
        {"RescaleSlope": -1, "RescaleIntercept": 4095, "WindowCenter": 1500, "WindowWidth": 2000},
        {"WindowCenter": [1500, 100], "WindowWidth": [2000, 50]},
        {"VOILUTSequence": lookup_table(np.sqrt(np.arange(2000)) * 90, 500, 12)},
        {"VOILUTSequence": lookup_table(np.arange(4096), 0, 12), **WINDOW},
        {"VOILUTSequence": lookup_table(np.arange(3000), -1500, 12), "pixels": SIGNED},
        {"ModalityLUTSequence": lookup_table(np.arange(4096) ** 2 // 256, 0, 16)},
        {"ModalityLUTSequence": lookup_table(np.arange(4096) // 2, 0, 16), **WINDOW},
        {"bits": 10, "pixels": picture(10), "WindowCenter": 400, "WindowWidth": 300},
        {"WindowCenter": 1500, "WindowWidth": 1},
    ],
    ids=str,
)
def test_pixels_are_those_of_the_chain_of_pydicom(tmp_path: Path, made: Mapping[str, Any]) -> None:
    write_dicom(tmp_path / "a.dcm", **made)
    expected = chain_of_pydicom(tmp_path / "a.dcm")
    assert expected.min() < 100 < 150 < expected.max()
    assert_array_equal(read(tmp_path / "a.dcm"), expected)


def test_the_real_files_are_read_as_pydicom_reads_them(real_dicom: Path) -> None:
    for name in ("chest_pa_uncompressed", "monochrome1_jpeg", "monochrome2_jpeg"):
        path = real_dicom / f"{name}.dcm"
        expected = chain_of_pydicom(path).astype(int)
        assert np.abs(read(path) - expected).max() <= (1 if "jpeg" in name else 0)  # two versions of libjpeg
    assert reason(real_dicom / "bad_body_part_ribcage.dcm") == "body part RIBCAGE, not the chest"
    assert reason(real_dicom / "bad_modality_ct.dcm") == "modality CT; CR or DX is needed"
    tags = read_tags(dcmread(real_dicom / "bad_position_xx.dcm"))
    assert why_not_frontal(tags) == "view XX, not PA or AP; --lateral admits other views"


def test_a_window_is_chosen_by_place_or_name(tmp_path: Path) -> None:
    two = {
        "WindowCenter": [1500, 800],
        "WindowWidth": [2000, 50],
        "WindowCenterWidthExplanation": ["SOFT", "Bone "],
    }
    write_dicom(tmp_path / "two.dcm", **two)
    write_dicom(tmp_path / "soft.dcm", **WINDOW)
    write_dicom(tmp_path / "bone.dcm", WindowCenter=800, WindowWidth=50)
    write_dicom(tmp_path / "none.dcm")
    assert_array_equal(read(tmp_path / "two.dcm"), read(tmp_path / "soft.dcm"))
    for window in ("2", "bone", "BONE"):
        assert_array_equal(read(tmp_path / "two.dcm", window), read(tmp_path / "bone.dcm"))
    assert_array_equal(read(tmp_path / "two.dcm", "full"), read(tmp_path / "none.dcm"))
    assert reason(tmp_path / "two.dcm", "3") == "no window 3: it has 2"
    assert reason(tmp_path / "two.dcm", "lung") == "no window of the name 'lung': it has soft, bone"
    assert reason(tmp_path / "none.dcm", "lung") == "no window of the name 'lung': it has none"
    write_dicom(tmp_path / "flat.dcm", WindowCenter=800, WindowWidth=0)
    assert reason(tmp_path / "flat.dcm") == "its window can't be used; --window full reads it without"


def test_a_table_of_eight_bits_may_have_more_than_256_entries(tmp_path: Path) -> None:
    pixels = write_dicom(tmp_path / "a.dcm", VOILUTSequence=lookup_table(np.arange(4096) // 16, 0, 8))
    assert_array_equal(read(tmp_path / "a.dcm"), pixels // 16)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
def test_padding_is_black(tmp_path: Path, photometric: str) -> None:
    pixels = picture()
    pixels[:8], pixels[8:16] = 4000, 3990
    one, several, beyond = (tmp_path / f"{name}.dcm" for name in ("one", "several", "beyond"))
    write_dicom(one, pixels, PhotometricInterpretation=photometric, PixelPaddingValue=4000)
    write_dicom(
        several, pixels, PhotometricInterpretation=photometric, PixelPaddingValue=4000, PixelPaddingRangeLimit=3990
    )
    assert (read(one)[:8] == 0).all()
    assert (read(several)[:16] == 0).all()
    assert (read(one)[8:16] != 0).all()
    shown = pixels != 4000
    assert_array_equal(read(one)[shown], chain_of_pydicom(one)[shown])
    pixels[:8] = 65535  # more than the 12 bits that are stored
    write_dicom(beyond, pixels, PhotometricInterpretation=photometric, PixelPaddingValue=65535)
    assert (read(beyond)[:8] == 0).all()


def test_bits_above_the_stored_ones_are_ignored(tmp_path: Path) -> None:
    write_dicom(tmp_path / "clean.dcm")
    write_dicom(tmp_path / "overlay.dcm", picture() | 0x4000)
    assert_array_equal(read(tmp_path / "overlay.dcm"), read(tmp_path / "clean.dcm"))


@pytest.mark.parametrize(
    ("tags", "aspect"),
    [
        ({}, 1),
        ({"PixelSpacing": [0.3, 0.2]}, 1.5),
        ({"ImagerPixelSpacing": [0.1, 0.2], "PixelAspectRatio": [1, 1]}, 0.5),
        ({"PixelAspectRatio": [3, 2]}, 1.5),
        ({"PixelSpacing": [0.1430, 0.1431]}, 1),
    ],
)
def test_pixels_may_be_other_than_square(tmp_path: Path, tags: dict[str, Any], aspect: float) -> None:
    write_dicom(tmp_path / "a.dcm", **tags)
    assert read_dicom((tmp_path / "a.dcm").read_bytes())[1] == pytest.approx(aspect)
    square, _ = read_image_file(tmp_path / "a.dcm", 32)
    assert (square.any(axis=0).sum(), square.any(axis=1).sum()) == (
        round(32 * min(1, 1 / aspect)),
        round(32 * min(1, aspect)),
    )


COLOURS = np.zeros((64, 64, 3), np.uint8)


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        ({"pixels": np.stack([picture()] * 3), "NumberOfFrames": 3}, "holds 3 frames instead of one image"),
        (
            {"pixels": picture(8), "bits": 8, "PhotometricInterpretation": "PALETTE COLOR"},
            "coloured: PALETTE COLOR; MONOCHROME1 or MONOCHROME2 is needed",
        ),
        (
            {"pixels": COLOURS, "bits": 8, "PhotometricInterpretation": "RGB", "PlanarConfiguration": 0},
            "coloured: RGB; MONOCHROME1 or MONOCHROME2 is needed",
        ),
        ({"Modality": "MG"}, "modality MG; CR or DX is needed"),
        ({"Modality": "RF"}, "modality RF; CR or DX is needed"),
        ({"BodyPartExamined": "HAND"}, "body part HAND, not the chest"),
        ({"BurnedInAnnotation": "YES"}, "text is burned into its pixels, which may name the patient"),
        ({"PixelSpacing": [0.1, 0]}, "pixels of 0.1 × 0, whose shape can't be right"),
        ({"HighBit": 15}, "the high bit of 12 bits is 15"),
        ({"Rows": 30000, "Columns": 30000}, "30000 × 30000 pixels are more than 100,000,000"),
        ({"Rows": 65}, "damaged: its pixels can't be decoded (ValueError)"),
    ],
    ids=str,
)
def test_what_is_no_single_gray_chest_radiograph_is_rejected(
    tmp_path: Path, made: dict[str, Any], expected: str
) -> None:
    write_dicom(tmp_path / "a.dcm", **made)
    assert reason(tmp_path / "a.dcm") == expected


@pytest.mark.parametrize("modality", ["CR", "DX", "DR", None])
def test_radiographs_of_each_modality_are_read_also_without_tags(tmp_path: Path, modality: str | None) -> None:
    tags = {"BodyPartExamined": None, "ViewPosition": None, "PatientID": None, "PatientAge": None}
    pixels = write_dicom(tmp_path / "a.dcm", bits=8, Modality=modality, **tags)
    assert_array_equal(read(tmp_path / "a.dcm"), pixels)


def test_a_file_without_pixels_is_rejected(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm")
    dataset = dcmread(tmp_path / "a.dcm")
    del dataset.PixelData
    dataset.save_as(tmp_path / "a.dcm")
    assert reason(tmp_path / "a.dcm") == "a DICOM file without pixels"


def test_a_file_without_the_usual_first_bytes_is_read_by_its_suffix(tmp_path: Path) -> None:
    write_dicom(tmp_path / "a.dcm")
    (tmp_path / "bare.dcm").write_bytes(dcmread_body(tmp_path / "a.dcm"))
    assert_array_equal(read_image_file(tmp_path / "bare.dcm", 64)[0], read(tmp_path / "a.dcm"))
    (tmp_path / "text.dcm").write_bytes(b"<html>404 Not Found</html>" * 10)
    with pytest.raises(RejectedImageError, match=r"not an image|can't be read"):
        read_image_file(tmp_path / "text.dcm", 64)


def dcmread_body(path: Path) -> bytes:
    """Return a file's data set alone, without the first bytes and the file's own header."""
    data = path.read_bytes()
    return data[data.index(b"\x08\x00\x16\x00UI") :]


def tags_of(**values: Any) -> DicomTags:
    dataset = Dataset()
    for name, value in values.items():
        setattr(dataset, name, value)
    return read_tags(dataset)


def code(meaning: str) -> Sequence:
    item = Dataset()
    item.CodeMeaning = meaning
    return Sequence([item])


@pytest.mark.parametrize(
    ("values", "view"),
    [
        ({"ViewPosition": "PA"}, "PA"),
        ({"ViewPosition": "ap"}, "AP"),
        ({"ViewPosition": "LL"}, "LATERAL"),
        ({"ViewPosition": "LLD"}, "DECUBITUS"),
        ({"ViewPosition": "RLO"}, "OBLIQUE"),
        ({"ViewPosition": "GEN"}, "GEN"),
        ({"ViewPosition": "", "ViewCodeSequence": code("postero-anterior")}, "PA"),
        ({"ViewCodeSequence": code("antero-posterior")}, "AP"),
        ({"ViewCodeSequence": code("left lateral")}, "LATERAL"),
        ({"PatientPosition": "PA"}, "PA"),
        ({"PatientPosition": "HFS"}, None),
        ({"PatientPosition": "ERECT"}, None),
        ({"PatientPosition": "XX"}, "XX"),
        ({"PatientOrientation": ["A", "F"]}, "LATERAL"),
        ({"PatientOrientation": ["L", "F"]}, None),
        ({"SeriesDescription": "view: PA"}, "PA"),
        ({"SeriesDescription": "Chest PA & Lat"}, None),
        ({}, None),
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR")
def test_the_view_is_found_in_the_tags_that_name_it(values: dict[str, Any], view: str | None) -> None:
    assert tags_of(**values).view == view


def test_ages_come_from_the_age_or_from_two_dates() -> None:
    assert tags_of(PatientAge="058Y").age_years == 58
    assert tags_of(PatientBirthDate="19400101", StudyDate="20000101").age_years == 60
    assert tags_of(PatientBirthDate="", StudyDate="20000101").age_years is None


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory, real_dicom: Path) -> list[bytes]:
    folder = tmp_path_factory.mktemp("dicom")
    paths = sorted(real_dicom.glob("*.dcm"))
    for number, syntax in enumerate(LOSSLESS):
        paths.append(folder / f"{number}.dcm")
        table = lookup_table(np.arange(4096), 0, 12, "NORMAL")
        write_dicom(paths[-1], syntax=syntax, VOILUTSequence=table, **WINDOW, **RESCALED)
    return [path.read_bytes() for path in paths]


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_damage_ends_in_pixels_or_a_rejection_and_prints_nothing(
    whole_files: list[bytes], caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str], seed: int
) -> None:
    rng = random.Random(seed)
    data = bytearray(rng.choice(whole_files))
    for _ in range(rng.choice((1, 3, 30))):
        place = rng.randrange(min(len(data), 2000)) if rng.random() < 0.8 else rng.randrange(len(data))
        data[place] ^= 1 << rng.randrange(8)
    try:
        gray, aspect = read_dicom(bytes(data))
    except RejectedImageError as error:
        reason_given = str(error)
    else:
        reason_given = ""
        assert gray.dtype == np.uint8
        assert aspect > 0
    assert "Doe" not in reason_given
    assert caplog.records == []
    assert capfd.readouterr() == ("", "")


def test_a_truncated_file_is_never_half_read(whole_files: list[bytes]) -> None:
    for data in whole_files:
        for length in [*range(200, 2000, 173), len(data) // 2, len(data) - 200]:
            if length < len(data):
                with pytest.raises(RejectedImageError):
                    read_dicom(data[:length])


@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEGBaseline8Bit])
def test_every_decoder_is_that_of_imagecodecs(syntax: UID) -> None:
    from clr_hpc.data.images.dicom_codecs import decoder_of

    assert decoder_of(syntax)[1] == "imagecodecs"
