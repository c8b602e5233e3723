"""Something is broken, and the line about it says what and what to do; the rest is about real parts."""

import importlib.util
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.doctor import disk, machine, software
from clr_hpc.doctor.check import Check, Level

THIS_MACHINE = {"PATH": "/nowhere", "OMP_NUM_THREADS": ""}
"""Without SLURM, and with as many threads as there are cores."""


def bad(checks: Iterable[Check]) -> list[Check]:
    """Return what is not as it should be; each has a remedy, and nothing else has."""
    found = list(checks)
    assert [one for one in found if bool(one.remedy) == (one.level == Level.OK)] == []
    return [one for one in found if one.level != Level.OK]


def the_bad(checks: Iterable[Check]) -> Check:
    (one,) = bad(checks)
    return one


@contextmanager
def mounted(folder: Path, *options: str) -> Iterator[Path]:
    """Mount a disk in memory, which takes a root user."""
    folder.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this user can't mount a disk: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_nothing_is_wrong_with_a_machine_that_trains(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "clr_hpc", "doctor", "--results", str(tmp_path / "results")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ | THIS_MACHINE)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr) == (0, "")
    assert "failure " not in done.stdout
    assert max(map(len, lines)) <= 80
    subjects = [
        "Python",
        "packages",
        "torch",
        "TensorBoard",
        "cores",
        "memory",
        "ports",
        "results",
        "disk",
        "SLURM",
    ]
    assert [name for name in subjects if name not in [line[9:21].strip() for line in lines]] == []
    assert list(tmp_path.iterdir()) == [], "what was tried is removed"


def test_after_a_failure_it_exits_with_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "results").touch()
    monkeypatch.setattr(
        "clr_hpc.cli.start.doctor.examinations", lambda *_: [lambda: disk.results(tmp_path / "results")]
    )
    done = CliRunner().invoke(app, ["doctor"])
    assert done.exit_code == 1
    assert "→ give --results" in done.stdout
    assert done.stdout.endswith("1 failure, 0 warnings\n")


def test_read_only_results(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "ro") as folder:
        found = the_bad(disk.results(folder / "results"))
    assert found.level == Level.FAILURE
    assert "read-only" in found.text


def test_a_full_disk(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=64k") as folder:
        found = the_bad(disk.results(folder))
        assert list(folder.iterdir()) == []
    assert (found.level, found.text) == (Level.FAILURE, f"{folder}: the disk is full")
    assert "make room" in found.remedy


def test_a_disk_with_little_room(tmp_path: Path) -> None:
    with mounted(tmp_path / "disk", "size=8m") as folder:
        found = the_bad(disk.results(folder))
    assert (found.level, found.subject) == (Level.WARNING, "results")


def broken(*_arguments: object, **_options: object) -> None:
    raise OSError(95, "Operation not supported")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ("os.link", "hard links: two processes could train one run (operation not supported)"),
        ("fcntl.flock", "locks: two commands could write one study (operation not supported)"),
        ("os.utime", "times: a process that trains could look dead to others (operation not supported)"),
    ],
)
def test_a_disk_that_breaks_a_promise(
    call: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one of FAT, or NFS without locks; no such disk can be made here."""
    monkeypatch.setattr(call, broken)
    assert told in [one.text for one in bad(disk.results(tmp_path))]


def test_locks_that_lock_nothing_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcntl.flock", lambda *_: None)
    assert the_bad(disk.results(tmp_path)).text == "locks: two commands could write one study"


def test_a_disk_with_another_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = disk.time.time()
    for apart, level in ((400, Level.FAILURE), (-30, Level.WARNING)):
        monkeypatch.setattr(disk.time, "time", lambda apart=apart: now - apart)
        found = the_bad(disk.results(tmp_path))
        assert (found.subject, found.level) == ("clock", level)
        assert f"{apart:+} s off" in found.text


def test_two_cpus_in_an_affinity_of_one() -> None:
    code = "from clr_hpc.doctor.machine import cores; print([one.text for one in cores()])"
    one = next(iter(os.sched_getaffinity(0)))
    told = subprocess.run(
        ["taskset", "--cpu-list", str(one), sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"SLURM_CPUS_PER_TASK": "2", "OMP_NUM_THREADS": "2"},
    ).stdout
    assert "SLURM gave 2, this process may use 1" in told
    assert "OMP_NUM_THREADS=2, this process may use 1" in told


@pytest.mark.parametrize(
    ("usable", "load", "told"),
    [(2, 0.3, False), (2, 0.7, True), (8, 55.0, False), (8, 56.6, True), (1, 64.0, False)],
)
def test_cores_that_others_compute_on(
    usable: int, load: float, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = 64 if usable != 2 else 2
    monkeypatch.setattr(machine, "usable_cores", lambda: usable)
    monkeypatch.setattr("os.cpu_count", lambda: every)
    monkeypatch.setattr("os.getloadavg", lambda: (0.0, load, 0.0))
    warned = [one for one in machine.cores() if "busy in the last five minutes" in one.text]
    assert len(warned) == told
    assert all("export OMP_WAIT_POLICY=PASSIVE" in one.remedy for one in warned)


VERSION_1 = "5:memory:/job_1\n4:cpu,cpuacct:/job_1\n0::/\n"
VERSION_2 = "0::/slurm/job_1\n"


@pytest.mark.parametrize(
    ("own", "files", "cpus", "memory"),
    [
        (VERSION_1, {"cpu/job_1/cpu.cfs_quota_us": "150000", "cpu/job_1/cpu.cfs_period_us": "100000"}, 1.5, None),
        (VERSION_1, {"cpu/job_1/cpu.cfs_quota_us": "-1", "cpu/job_1/cpu.cfs_period_us": "100000"}, None, None),
        (VERSION_1, {"memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
        (VERSION_1, {"memory/job_1/memory.limit_in_bytes": "1024"}, None, 1024),
        (VERSION_2, {"slurm/cpu.max": "100000 100000", "slurm/job_1/cpu.max": "max 100000"}, 1.0, None),
        (VERSION_2, {"memory.max": "2048", "slurm/memory.max": "max"}, None, 2048),
        ("", {}, None, None),
    ],
)
def test_limits_of_control_groups(
    own: str, files: dict[str, str], cpus: float | None, memory: int | None, tmp_path: Path
) -> None:
    (tmp_path / "own").write_text(own)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(f"{text}\n")
    assert machine.cpu_quota(tmp_path, tmp_path / "own") == cpus
    assert machine.memory_limit(tmp_path, tmp_path / "own") == memory


def test_several_cores_with_the_time_of_less() -> None:
    """In a control group of this machine, where this user may make one."""
    group = Path(f"/sys/fs/cgroup/cpu/clr-hpc-test-{os.getpid()}")
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text("50000")
    except OSError as error:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no control group can be made: {error}")
    code = f"open('{group}/tasks', 'w').write('0'); from clr_hpc.doctor.machine import cores; print(*cores())"
    try:
        told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    finally:
        group.rmdir()
    assert "the cgroup allows the time of 0.5" in told
    assert "--processes 1" in told


def test_little_memory() -> None:
    found = the_bad(machine.memory(100_000))
    assert "for 100000 processes" in found.text
    assert "--processes" in found.remedy
    assert bad(machine.memory(0)) == []


def test_a_port_that_is_taken() -> None:
    with suppress(OSError), socket.create_server((machine.LOOPBACK, machine.TENSORBOARD_PORT)):
        assert "--port 0" in the_bad(machine.ports()).remedy


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Return a function that puts a module, or another version of a package, before those that are installed."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def write(name: str, text: str) -> None:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
        importlib.invalidate_caches()

    return write


def test_packages_of_other_versions_than_tested(install: Callable[[str, str], None]) -> None:
    wanted = ["numpy>=99", "pydantic>=2", "not-there>=1", 'ray>=99; extra == "ray"', 'nowhere; extra == "other"']
    wanted += ['rich; extra == "fine"', 'nowhere; extra == "dev"']
    lines = [f"Provides-Extra: {name}" for name in ("ray", "other", "fine", "dev")]
    lines += [f"Requires-Dist: {one}" for one in wanted]
    lines += ["Classifier: Programming Language :: Python :: 3.9"]
    install(
        "clr_hpc-9.dist-info/METADATA", "\n".join(["Metadata-Version: 2.1", "Name: clr-hpc", "Version: 9", *lines])
    )
    found = list(software.packages())
    told = {(one.subject, one.level.value, one.remedy) for one in bad(found)}
    assert told == {
        ("packages", "warning", "pip install 'numpy>=99'"),
        ("packages", "failure", "pip install 'not-there>=1'"),
        ("ray", "warning", "pip install 'ray>=99', or leave the extra out"),
    }
    assert [one.text for one in found if one.subject == "extras"] == [
        "not installed: other; where needed, pip install 'clr-hpc[NAME]'"
    ]
    assert "fine" in [one.subject for one in found]
    assert "not tested" in the_bad(software.python()).text


GPU = """
class cuda:
    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 2)
    get_device_properties = staticmethod(lambda index: cuda)
    name, total_memory = "H200", 150 * 2**30
class version:
    cuda = "13.2"
__version__ = "9.0"
"""


def test_torch_that_is_broken_or_can_not_use_the_gpu(install: Callable[[str, str], None]) -> None:
    assert bad(software.torch(0)) == []
    install("torch.py", "raise ImportError('libcudart.so.13: cannot open shared object file')")
    found = the_bad(software.torch(1))
    assert "ImportError: libcudart.so.13" in found.text
    assert found.level == Level.FAILURE
    install("torch.py", GPU)
    assert [one.text for one in software.torch(2)] == ["9.0, CUDA 13.2, 2 × H200, 150 GiB"]
    install("torch.py", GPU.replace("lambda: True", "lambda: False").replace('"13.2"', "None"))
    assert "built without CUDA: it can't use the 2 NVIDIA GPUs of this machine" in the_bad(software.torch(2)).text


def test_a_tensorboard_that_is_broken(install: Callable[[str, str], None]) -> None:
    install("tensorboard.py", "import nothing_of_this_name")
    assert "No module named 'nothing_of_this_name'" in the_bad(software.tensorboard()).text
