"""What a checkpoint's metadata says of a run."""

from pathlib import Path

import pytest

from clr_hpc.store import checkpoints
from clr_hpc.store.checkpoints import Divergence, Progress, parse_progress, progress_metadata
from clr_hpc.store.records import Damaged


@pytest.mark.parametrize("lr_max", [0.0033, 1e10, 1e38, 1e300])
def test_a_divergence_is_read_back_whatever_the_rate(lr_max: float) -> None:
    """Else a run would diverge from its beginning again and again, since nothing says how often it has."""
    progress = Progress(samples=320, divergences=(Divergence(320, lr_max),))
    assert parse_progress(progress_metadata(progress), Path("checkpoint")) == progress


def test_a_later_version_reads_checkpoints_of_earlier_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 1)
    first, progress = progress_metadata(Progress(samples=8)), Progress(samples=8)
    assert "format_version" not in first, "checkpoints of version 1 keep their bytes"
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 2)
    second = progress_metadata(progress)
    assert second == {"format_version": 2, **first}
    assert parse_progress(first, Path("x")) == parse_progress(second, Path("x")) == progress
    monkeypatch.setattr(checkpoints, "FORMAT_VERSION", 1)
    for version in (2, 0, "1", None, [1]):
        assert isinstance(parse_progress(first | {"format_version": version}, Path("x")), Damaged)
