"""The notebook of the documentation runs as it is written."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.walkthrough
EXECUTE = """
import sys, nbclient, nbformat
book = nbformat.read(sys.argv[1], 4)
nbclient.NotebookClient(book, timeout=600, kernel_name="python3").execute()
nbformat.write(book, "run.ipynb")
"""


def kinds(cell: Any) -> set[str]:
    """Return what a cell shows: pictures, tables, texts."""
    return {kind for output in cell["outputs"] for kind in output.get("data", {})}


def test_the_notebook_runs_and_shows_what_it_is_printed_with(repository: Path, tmp_path: Path) -> None:
    file = repository / "docs" / "tutorials" / "from-python.ipynb"
    printed = json.loads(file.read_text(encoding="utf-8"))
    # in a process of its own, since what Jupyter warns of is not ours
    environment = os.environ | {"PYTHONPATH": str(repository)}
    subprocess.run([sys.executable, "-c", EXECUTE, str(file)], cwd=tmp_path, env=environment, check=True)
    run = json.loads((tmp_path / "run.ipynb").read_text(encoding="utf-8"))
    code = [(one, other) for one, other in zip(printed["cells"], run["cells"], strict=True) if "outputs" in one]
    assert code
    assert [kinds(one) for one, _ in code] == [kinds(other) for _, other in code]
    assert (tmp_path / "results" / "from_python" / "report" / "report.html").exists()


def test_the_notebook_names_no_folder_of_the_machine_it_was_run_on(repository: Path) -> None:
    text = (repository / "docs" / "tutorials" / "from-python.ipynb").read_text(encoding="utf-8")
    assert [
        folder for folder in ("/home/", "/root/", "/tmp/", "site-packages", f"{repository}/") if folder in text
    ] == []
