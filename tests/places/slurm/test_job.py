"""Which failures are the machine's."""

import pytest

from clr_hpc.places.slurm.job import is_machine_fault


@pytest.mark.parametrize(
    "reason",
    [
        "RuntimeError: CUDA error: an illegal memory access was encountered",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
        "AcceleratorError: CUDA driver initialization failed",
        "RuntimeError: No CUDA-capable device is detected",
        "OSError: [Errno 5] Input/output error: '/shared/pack/shard-00000.npy'",
        "OSError: [Errno 116] Stale file handle",
    ],
)
def test_gpus_drivers_and_disks_that_do_not_work(reason: str) -> None:
    assert is_machine_fault(reason)


@pytest.mark.parametrize(
    "reason",
    [
        "FloatingPointError: the loss is nan after 320 samples",
        "OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "RuntimeError: CUDA error: out of memory",
        "OSError: [Errno 28] No space left on device",
        "BaselineError: the baseline failed",
        "OSError: [Errno 52] Invalid exchange",
    ],
)
def test_what_another_machine_would_not_change(reason: str) -> None:
    assert not is_machine_fault(reason)
