"""Programs and packages that some tests need."""

import os
from importlib.util import find_spec
from typing import NoReturn

import pytest


def skip_or_fail(reason: str) -> NoReturn:
    """Skip a test whose program is not installed; with ``CLR_HPC_TEST_NEEDS_ALL=1``, as in CI, fail it."""
    if os.environ.get("CLR_HPC_TEST_NEEDS_ALL"):
        pytest.fail(f"{reason}; install it, or unset CLR_HPC_TEST_NEEDS_ALL to skip this test")
    pytest.skip(reason)


def need_package(name: str) -> None:
    """Skip a module where a package is not installed.

    It is not imported: that takes seconds, in each process that collects the tests.
    """
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)
