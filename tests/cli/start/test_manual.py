"""The documentation is at hand wherever the package is, and what is printed leads to nothing else."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.cli.start.manual import pages


def told(*words: str) -> str:
    return CliRunner().invoke(app, ["manual", *words]).output


def test_every_page_is_listed_by_one_name_and_printed(repository: Path) -> None:
    wanted = {page for page in (repository / "docs").rglob("*.md") if page.name != "README.md"}
    assert {file.resolve() for file in pages().values()} == wanted
    listed = [line.split()[0] for line in told().splitlines()]
    assert sorted(listed) == sorted(pages())
    assert {"tuning", "reference/lr-range", "explanation/lr-range"} <= set(listed)
    assert told("tuning") == (repository / "docs/reference/tuning.md").read_text()
    assert "did you mean 'tuning'?" in told("tunning")


def printed(file: Path) -> Iterator[str]:
    """Yield the strings of a module that are no docstrings of anything."""
    tree = ast.parse(file.read_text())
    texts = {
        id(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            yield node.value


def test_what_is_printed_names_no_path_of_a_checkout(repository: Path) -> None:
    named = set()
    for file in (repository / "clr_hpc").rglob("*.py"):
        for text in printed(file):
            assert not re.search(r"\b(docs|jobs|slurm|benchmarks)/[\w/-]*\.(md|yaml|py)|jobs/ ", text), (
                f"{file}: {text}"
            )
            named |= set(re.findall(r"clr-hpc manual ([a-z/-]+)", text))
    assert len(named) >= 4
    assert named <= set(pages())
