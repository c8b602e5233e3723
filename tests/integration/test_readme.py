"""The README's commands, as written, in a copy of the project."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

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


def run(command: str, folder: Path) -> str:
    """Run a command of the README with the environment that the tests run in."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(folder),
        "COLUMNS": "200",
    }
    if command.startswith("make "):
        # not a .venv made anew: that it can be is shown by the `make test` that runs this test
        command += f" VENV={Path(sys.executable).parents[1]} INSTALLED=installed"
    outcome = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
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


def test_quickstart_ends_with_the_report(copy: Path) -> None:
    output = run("make quickstart", copy)
    last_line = output.strip().splitlines()[-1]
    assert last_line == "report: results/quickstart/report/report.html"
    page = (copy / "results/quickstart/report/report.html").read_text()
    assert page.count("<svg") >= 3
    assert "Cardiomegaly" in page


def test_the_other_commands(copy: Path) -> None:
    for block in commands(copy / "README.md")[1:]:
        for command in block:
            if command.startswith("tensorboard"):
                assert (copy / command.split()[-1]).is_dir(), (
                    "it serves until it is stopped: test_tensorboard.py opens it"
                )
            else:
                run(command, copy)


def test_links_lead_somewhere(repository: Path) -> None:
    for document in [
        repository / "README.md",
        repository / "CONTRIBUTING.md",
        *(repository / "docs").glob("*.md"),
    ]:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text()):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name} links to {target}, which isn't there"
