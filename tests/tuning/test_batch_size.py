"""The largest batch: the search for it, and a real probe."""

from pathlib import Path

import pytest
import yaml
from child_processes import kill_itself
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.config.expand import expand
from clr_hpc.config.study import Study
from clr_hpc.data.pack import Pack
from clr_hpc.places.machine import Processes
from clr_hpc.tuning import batch_size
from clr_hpc.tuning.batch_size import NothingFitsError, batch_sizes_that_fit, search_largest

ONE = Processes(1, 1)


@given(st.integers(1, 64), st.integers(1, 2000), st.integers(0, 3000))
def test_doublings_that_fit_and_then_the_largest_to_a_quarter(low: int, most: int, limit: int) -> None:
    tried = []

    def fits(size: int) -> bool:
        tried.append(size)
        return size <= limit

    sizes = search_largest(low, most, fits)
    room = min(limit, most)
    if room < low:
        assert sizes == ()
        return
    assert sizes[0] == low
    assert list(sizes) == sorted(set(sizes))
    assert all(size <= room for size in sizes)
    doubled = max(low * 2**power for power in range(12) if low * 2**power <= room)
    assert room - sizes[-1] <= doubled // 4 + 1
    assert all(size <= most for size in tried)
    too_large = [size for size in tried if size > limit]
    assert too_large == sorted(too_large, reverse=True), "what is larger than one that didn't fit is not tried"


def study_of(pack: Pack, smallest: int = 64) -> Study:
    return Study.model_validate(
        yaml.safe_load(f"""
            name: trial
            pack: {pack.folder}
            pathologies: [cardiomegaly]
            optimizers: [sgd]
            rates: {{sgd: {{lr_min: 0.001, lr_max: 0.01}}}}
            stages: {{scratch: {{policies: [constant]}}}}
            training: {{epochs: 1, image_size: 32}}
            tune: {{trials: 2, space: {{batch_size: {{low: {smallest}, high: fits}}}}}}
        """)
    )


def test_one_batch_of_all_images_is_the_largest_where_memory_is_ample(small_pack: Pack) -> None:
    logged: list[str] = []
    images = len(small_pack.rows_of("train"))
    smallest = images * 2 // 3  # each size takes a process
    study = study_of(small_pack, smallest)
    sizes = batch_sizes_that_fit(study, small_pack.manifest.checksum, ONE, logged.append)
    assert sizes[0] == smallest
    assert images * 3 / 4 - 1 <= sizes[-1] <= images
    assert logged == [f"batch sizes that fit: {', '.join(map(str, sizes))}"]


def test_what_does_not_fit_is_named_before_a_trial_fails(
    small_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_size, "_free_bytes", lambda: 2**20)
    with pytest.raises(NothingFitsError, match="not even batch_size=64 fits"):
        batch_sizes_that_fit(study_of(small_pack), small_pack.manifest.checksum, ONE, print)


def test_a_probe_that_the_kernel_kills_does_not_fit(
    small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = expand(study_of(small_pack), small_pack.manifest.checksum)[0]
    probe = batch_size.BatchProbe(small_pack.folder, ONE)
    assert probe.training_images(spec) > 64
    monkeypatch.setattr(batch_size, "_answer", kill_itself)
    assert not probe.fits(spec)
    del tmp_path
