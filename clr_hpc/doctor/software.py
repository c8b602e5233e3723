"""Python and the packages: which are there, whether they are of tested versions, and whether torch works."""

import json
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, metadata, version
from typing import Any

from packaging.requirements import Requirement

from clr_hpc.doctor.check import Check, failure, ok, warning

DISTRIBUTION = "clr-hpc"
OF_DEVELOPERS = {"dev", "benchmarks"}
"""Extras that no user needs."""
IMPORT_SECONDS, SLOW_SECONDS = 120.0, 20.0
"""Limit to importing torch, and what is slow: some seconds is usual."""
TELL_TORCH = """
import json, torch
cuda = torch.cuda
usable = cuda.is_available()
gpus = [cuda.get_device_properties(i) for i in range(cuda.device_count() if usable else 0)]
print(json.dumps({
    "version": str(torch.__version__),
    "cuda": torch.version.cuda,
    "gpus": [[gpu.name, gpu.total_memory] for gpu in gpus],
}))
"""


def python() -> Iterator[Check]:
    """Compare this Python with those that the project is tested with."""
    found = platform.python_version()
    classifiers = _metadata().get("classifier", [])
    tested = [
        line.rpartition(" ")[2] for line in classifiers if line.startswith("Programming Language :: Python :: 3.")
    ]
    if tested and found.rpartition(".")[0] not in tested:
        yield warning("Python", f"{found}, not tested", f"take {' or '.join(tested)} if something fails")
    else:
        yield ok("Python", f"{found}, {sys.executable}")


def packages() -> Iterator[Check]:
    """Compare the packages that this one needs, and those of its extras, with the tested versions."""
    given = [Requirement(line) for line in _metadata().get("requires_dist", [])]
    if not given:
        yield warning(
            "packages", f"{DISTRIBUTION} is not installed, so what it needs is not known", "pip install it"
        )
        return
    needed = [one for one in given if one.marker is None or one.marker.evaluate({"extra": ""})]
    wrong = [one for one in needed if not _is_tested(one)]
    yield from (_mismatch("packages", one, "") for one in wrong)
    if not wrong:
        yield ok("packages", f"all {len(needed)} that are needed, of tested versions")
    yield from _extras(given)


def _extras(given: list[Requirement]) -> Iterator[Check]:
    absent = []
    for extra in _metadata().get("provides_extra", []):
        of_extra = [
            one
            for one in given
            if one.name != DISTRIBUTION and one.marker is not None and one.marker.evaluate({"extra": extra})
        ]
        if extra in OF_DEVELOPERS or not of_extra:
            continue
        if any(_installed(one.name) is None for one in of_extra):
            absent.append(extra)
        elif wrong := [one for one in of_extra if not _is_tested(one)]:
            yield from (_mismatch(extra, one, f"[{extra}]") for one in wrong)
        else:
            yield ok(
                extra,
                ", ".join(f"{one.name} {_installed(one.name)} (tested: {one.specifier})" for one in of_extra),
            )
    if absent:
        yield ok("extras", f"not installed: {', '.join(absent)}; where needed, pip install '{DISTRIBUTION}[NAME]'")


def _mismatch(subject: str, wanted: Requirement, extra: str) -> Check:
    remedy = f"pip install '{wanted.name}{wanted.specifier}'"
    found = _installed(wanted.name)
    if found is None:
        return failure(subject, f"{wanted.name} is not installed", remedy)
    return warning(
        subject,
        f"{wanted.name} {found}, tested is {wanted.specifier}",
        f"{remedy}{extra and ', or leave the extra out'}",
    )


def _is_tested(wanted: Requirement) -> bool:
    found = _installed(wanted.name)
    return found is not None and wanted.specifier.contains(found, prereleases=True)


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _metadata() -> Mapping[str, Any]:
    """Return what this package says of itself; nothing where it was not installed."""
    try:
        return metadata(DISTRIBUTION).json
    except PackageNotFoundError:
        return {}


def torch(gpus: int) -> Iterator[Check]:
    """Import torch in a process of its own, and ask it for its GPUs.

    Args:
        gpus: that the system shows, without torch.
    """
    begun = time.monotonic()
    told, mistake = _tell(TELL_TORCH)
    seconds = time.monotonic() - begun
    if told is None:
        yield failure(
            "torch",
            f"can't be imported: {mistake}",
            "install it anew: pip install --force-reinstall torch torchvision",
        )
        return
    found = json.loads(told)
    cuda = f"CUDA {found['cuda']}" if found["cuda"] else "built without CUDA"
    if found["gpus"]:
        name, memory = found["gpus"][0]
        yield ok("torch", f"{found['version']}, {cuda}, {len(found['gpus'])} × {name}, {memory / 2**30:.0f} GiB")
    elif gpus:
        yield failure(
            "torch",
            f"{found['version']}, {cuda}: it can't use the {gpus} NVIDIA GPU{'s'[: gpus > 1]} of this machine",
            "install a torch for the driver that nvidia-smi names: https://pytorch.org/get-started/locally",
        )
    else:
        yield ok("torch", f"{found['version']}, on CPUs: no NVIDIA GPU is visible here")
    if seconds > SLOW_SECONDS:
        yield warning(
            "torch",
            f"importing it took {seconds:.0f} s, which every process waits for",
            "keep Python's environment on a local or faster disk",
        )


def tensorboard() -> Iterator[Check]:
    """Import what serves TensorBoard, in a process of its own: its libraries often disagree."""
    told, mistake = _tell("from tensorboard import program, version; print(version.VERSION)")
    if told is None:
        yield failure(
            "TensorBoard", f"can't be imported: {mistake}", "install it anew: pip install --upgrade tensorboard"
        )
    else:
        yield ok("TensorBoard", told)


def _tell(code: str) -> tuple[str | None, str]:
    """Return what code prints in a process of its own, None where it fails, and the last line of its errors."""
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, timeout=IMPORT_SECONDS
        )
    except subprocess.TimeoutExpired:
        return None, f"it takes longer than {IMPORT_SECONDS:g} s"
    mistake = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    return (done.stdout.strip() if done.returncode == 0 else None), mistake
