"""Programs that some tests need."""

import os
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skip a test whose program is not installed; with ``CLR_HPC_TEST_NEEDS_ALL=1``, as in CI, fail it."""
    if os.environ.get("CLR_HPC_TEST_NEEDS_ALL"):
        pytest.fail(f"{reason}; install it, or unset CLR_HPC_TEST_NEEDS_ALL to skip this test")
    pytest.skip(reason)
