import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor


@pytest.fixture(scope="session")
def batches() -> list[Tensor]:
    """60 smooth images at 32 × 32, in three batches."""
    coarse = torch.randn(60, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    return list(torch.nn.functional.interpolate(coarse, size=(32, 32), mode="bilinear").split(25))


@pytest.fixture(scope="session")
def patients() -> NDArray[np.int64]:
    """Three images of each of 20 patients."""
    return np.arange(60, dtype=np.int64) // 3
