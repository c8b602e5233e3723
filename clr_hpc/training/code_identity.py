"""Which code this is: its commit where it is a git checkout, and in any case a checksum of its files."""

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

import clr_hpc

PACKAGE = Path(clr_hpc.__file__).parent


@dataclass(frozen=True)
class CodeIdentity:
    """The code of this package."""

    commit: str | None
    """None where it isn't a git checkout."""
    uncommitted_changes: bool | None
    """Whether its files differ from the commit."""
    source_sha256: str
    """Of all its Python files, by their names and contents; tells versions apart where there is no git."""


def code_identity() -> CodeIdentity:
    """Return the identity of the code as it lies on the disk at this moment."""
    git = ["git", "-C", str(PACKAGE)]
    try:
        commit = _output([*git, "rev-parse", "HEAD"]).strip()
        changed = bool(_output([*git, "status", "--porcelain", "."]).strip())
    except (OSError, subprocess.SubprocessError):
        return CodeIdentity(None, None, source_sha256())
    return CodeIdentity(commit, changed, source_sha256())


def source_sha256() -> str:
    """Return the checksum of this package's Python files."""
    whole = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(PACKAGE)} {content}\n".encode())
    return whole.hexdigest()


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
