from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

from clr_hpc.data import prefetch as module
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.prefetch import DevicePixels, FetchedPixels, ResidentPixels, device_pixels
from clr_hpc.data.sources.phantom import PhantomSource

CPU = torch.device("cpu")
FIRST, SECOND, THIRD = np.array([5, 3, 5]), np.array([0, 39]), np.array([7, 8, 9])


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = tmp_path_factory.mktemp("pixels") / "pack"
    build_pack(PhantomSource(images=40), folder, 32, workers=1)
    return Pack.open(folder)


@pytest.mark.parametrize("make", [ResidentPixels, FetchedPixels])
@pytest.mark.parametrize(
    "expected",
    [[], [FIRST, SECOND, THIRD], [SECOND], [FIRST, THIRD]],
    ids=["nothing", "what comes", "something else", "half of it"],
)
def test_rows_come_as_they_are_asked_for_whatever_was_expected(
    pack: Pack, monkeypatch: pytest.MonkeyPatch, make: Callable[[Pack, torch.device], DevicePixels], expected: list
) -> None:
    monkeypatch.setattr(module, "COPIED_AT_ONCE", 16)
    pixels = make(pack, CPU)
    pixels.prefetch(lambda: expected)
    for rows in (FIRST, SECOND, THIRD, np.array([], dtype=np.int64)):
        taken = pixels.gather(rows)
        assert taken.dtype == torch.uint8
        assert_array_equal(taken.numpy(), pack.gather(rows))


def test_expected_rows_are_read_by_another_thread_and_once(pack: Pack, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    gather, threads = Pack.gather, []

    def watched(self: Pack, rows: np.ndarray) -> np.ndarray:
        threads.append(threading.current_thread() is threading.main_thread())
        return gather(self, rows)

    monkeypatch.setattr(Pack, "gather", watched)
    pixels = FetchedPixels(pack, CPU)
    pixels.prefetch(lambda: [FIRST])
    pixels.gather(FIRST)
    pixels.gather(FIRST)
    assert threads == [False, True]


def test_what_goes_wrong_while_reading_ahead_is_raised_where_it_is_taken(tmp_path: Path) -> None:
    build_pack(PhantomSource(images=40), tmp_path / "pack", 32, workers=1)
    pack = Pack.open(tmp_path / "pack")
    (tmp_path / "pack" / "shard-00000.npy").unlink()
    pixels = FetchedPixels(pack, CPU)
    pixels.prefetch(lambda: [FIRST])
    with pytest.raises(FileNotFoundError, match="shard-00000"):
        pixels.gather(FIRST)


def test_resident_pixels_are_shared_by_all_who_ask(pack: Pack) -> None:
    assert isinstance(device_pixels(pack, CPU), FetchedPixels)
    pack.resident[CPU] = ResidentPixels(pack, CPU)
    try:
        assert device_pixels(pack, CPU) is device_pixels(pack, CPU) is pack.resident[CPU]
    finally:
        pack.resident.clear()
