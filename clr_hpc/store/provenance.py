"""Where a run was made: what a reader needs to trust or repeat it."""

import hashlib
import os
import platform
import subprocess
import sys
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import clr_hpc

if TYPE_CHECKING:
    import torch

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
    return CodeIdentity(*checked_out(), source_sha256())


@cache
def code_of_this_process() -> CodeIdentity:
    """Return the identity of the code as it was when first asked for; later changes do not reach this process."""
    return code_identity()


def checked_out() -> tuple[str | None, bool | None]:
    """Return the commit of the code and whether its files differ from it; None twice where git does not keep it.

    A package that is installed inside somebody's own repository is not of that repository's commit.
    """
    git = ["git", "-C", str(PACKAGE)]
    try:
        _output([*git, "ls-files", "--error-unmatch", "__init__.py"])
        commit = _output([*git, "rev-parse", "HEAD"]).strip()
        return commit, bool(_output([*git, "status", "--porcelain", "."]).strip())
    except (OSError, subprocess.SubprocessError):
        return None, None


def source_sha256() -> str:
    """Return the checksum of this package's Python files."""
    whole = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        content = hashlib.sha256(path.read_bytes()).hexdigest()
        whole.update(f"{path.relative_to(PACKAGE)} {content}\n".encode())
    return whole.hexdigest()


def safe_path() -> tuple[str, ...]:
    """Return what keeps Python from importing another checkout of the package that lies in the working directory.

    In a process started with ``-c`` or ``-m`` Python looks there first. Empty where this package lies there.
    """
    return () if PACKAGE.parent == Path(os.curdir).absolute() else ("-P",)


def _output(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout


def describe_environment(device: "torch.device") -> dict[str, Any]:
    """Return code, versions and hardware of this process as JSON-able values."""
    import torch

    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": " ".join([Path(sys.argv[0]).name, *sys.argv[1:]]),
        "host": platform.node(),
        "device": str(device),
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else None,
        "cpu": _cpu_model(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {
            "torch": str(torch.__version__),  # with the build's suffix, such as +cu132
            **{name: version(name) for name in ("torchvision", "timm", "numpy", "scikit-learn")},
        },
        "clr_hpc": clr_hpc.__version__,
        **asdict(code_of_this_process()),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
