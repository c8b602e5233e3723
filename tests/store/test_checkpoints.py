"""What a checkpoint's metadata says of a run."""

from dataclasses import asdict
from pathlib import Path

import pytest

from clr_hpc.store.checkpoints import Divergence, Progress, parse_progress


@pytest.mark.parametrize("lr_max", [0.0033, 1e10, 1e38, 1e300])
def test_a_divergence_is_read_back_whatever_the_rate(lr_max: float) -> None:
    """Else a run would diverge from its beginning again and again, since nothing says how often it has."""
    progress = Progress(samples=320, divergences=(Divergence(320, lr_max),))
    assert parse_progress(asdict(progress), Path("checkpoint")) == progress
