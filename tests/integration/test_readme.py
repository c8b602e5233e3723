"""The README's commands, as written, in a copy of the project."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

pytestmark = pytest.mark.walkthrough

WAIT_SECONDS = 1200


@pytest.fixture(scope="module")
def copy(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files that git knows, without what earlier runs left."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=repository,
        capture_output=True,
        text=True,
        check=True,
    )
    folder = tmp_path_factory.mktemp("clone") / "clr_hpc"
    for name in filter(None, listed.stdout.split("\0")):
        if (repository / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(repository / name, folder / name)
    (folder / "installed").touch()
    return folder


def commands(readme: Path) -> list[list[str]]:
    """Return the lines of each ``console`` block."""
    blocks = re.findall(r"```console\n(.*?)```", readme.read_text(), flags=re.DOTALL)
    return [block.strip().splitlines() for block in blocks]


def environment(folder: Path) -> dict[str, str]:
    """Return the tests' environment, with this copy of the project."""
    # as in a user's shell: with what `make test` hands down, make would also say which folder it enters and leaves
    inherited = {
        name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    }
    return inherited | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "COLUMNS": "200",
    }


def run(command: str, folder: Path) -> str:
    """Run a command of the README with the environment that the tests run in."""
    if command.startswith("make "):
        # not a .venv made anew: that it can be is shown by the `make` that runs this test
        command += f" VENV={Path(sys.executable).parents[1]} INSTALLED=installed"
    outcome = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=WAIT_SECONDS,
        check=False,
    )
    assert outcome.returncode == 0, f"{command}\n{outcome.stdout}"
    return outcome.stdout


def test_it_opens_with_the_two_commands(repository: Path) -> None:
    assert commands(repository / "README.md")[0] == ["make quickstart", "make test"]


@pytest.fixture(scope="module")
def quickstart(copy: Path) -> str:
    """What the first command prints; the others use what it leaves."""
    return run("make quickstart", copy)


def test_quickstart_ends_with_the_report(quickstart: str, copy: Path) -> None:
    last_line = quickstart.strip().splitlines()[-1]
    assert last_line == "report: results/quickstart/report/report.html"
    page = (copy / "results/quickstart/report/report.html").read_text()
    assert page.count("<svg") >= 3
    assert "Cardiomegaly" in page


@pytest.mark.usefixtures("quickstart")
def test_the_other_commands(copy: Path) -> None:
    for block in commands(copy / "README.md")[1:]:
        for command in block:
            if command.startswith("clr-hpc tensorboard"):
                check_tensorboard(command, copy)
            else:
                run(command, copy)


def check_tensorboard(command: str, folder: Path) -> None:
    """Start it on a free port and ask it for the runs that it sees."""
    server = subprocess.Popen(
        [*command.split(), "--port", "0"],
        cwd=folder,
        env=environment(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert server.stdout is not None
        first_line = server.stdout.readline()
        address = re.search(r"http://127\.0\.0\.1:\d+/", first_line)
        assert address, first_line + server.stdout.read()
        folders = list((folder / "second" / "quickstart" / "runs").iterdir())
        deadline = time.monotonic() + 60
        while len(runs := json.load(urllib.request.urlopen(f"{address[0]}data/runs"))) <= len(folders):
            assert time.monotonic() < deadline, f"TensorBoard sees {runs} of {folders}"
            time.sleep(0.5)
    finally:
        server.terminate()
        server.communicate()
    assert "effusion/densenet121/adam/triangular.retrain.seed0" in runs
