"""Where a run was made: what a reader needs to trust or repeat it."""

import os
import platform
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import clr_hpc
from clr_hpc.training.code_identity import code_identity


def describe_environment(device: torch.device) -> dict[str, Any]:
    """Return code, versions and hardware of this process as JSON-able values."""
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
        **asdict(code_identity()),
    }


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
