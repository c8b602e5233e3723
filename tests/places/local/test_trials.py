"""What a trial's run has of this machine."""

import pytest

from clr_hpc.places.local.place import LocalTrials
from clr_hpc.places.machine import Processes


def test_a_run_of_this_machine_has_its_threads_or_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    place = LocalTrials(Processes(2, 4))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert (place.processors, place.processor) == (4, "CPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert (place.processors, place.processor) == (1, "GPU")
