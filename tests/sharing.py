"""A folder that a project group shares, and another user who looks at it."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

GROUP = OTHER = 65534
"""Nobody's, on any system."""


@contextmanager
def umask_of_a_group() -> Iterator[None]:
    """Have what this process and its children make be the group's too."""
    before = os.umask(0o002)
    try:
        yield
    finally:
        os.umask(before)


def share(folder: Path) -> Path:
    """Have a group own the folder, and what is made in it; without root, one of this user's."""
    folder.mkdir(exist_ok=True)
    os.chown(folder, -1, GROUP if os.geteuid() == 0 else os.getgroups()[-1])
    folder.chmod(0o2775)
    return folder


def not_shared(folder: Path) -> set[str]:
    """Return the names of what the group can't read and change."""
    group = folder.stat().st_gid
    found = set()
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        needed = 0o2070 if path.is_dir() else 0o060
        if not path.is_symlink() and (status.st_gid != group or status.st_mode & needed != needed):
            found.add(path.name)
    return found


@contextmanager
def as_another_user() -> Iterator[None]:
    """Be another user for a while; the group's folders are his too."""
    os.setegid(GROUP)
    os.seteuid(OTHER)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A shared folder that another user can get to."""
    if os.geteuid() != 0:
        pytest.skip("only root can be another user for a while")
    with tempfile.TemporaryDirectory() as made, umask_of_a_group():
        yield share(Path(made))
