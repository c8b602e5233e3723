"""The pages hold together: links and anchors resolve, and what they name exists."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from clr_hpc.cli.app import app

REPOSITORY = Path(__file__).parents[1]
PAGES = [
    *REPOSITORY.glob("*.md"),
    *(REPOSITORY / "docs").rglob("*.md"),
    *(REPOSITORY / "slurm").glob("*.md"),
]
KINDS = ["tutorials", "how-to", "reference", "explanation"]
CODE_FOLDERS = ["clr_hpc", "tests", "jobs", "slurm", "benchmarks"]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield each relative link of a page as file and anchor."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" not in target:
            path, _, anchor = target.partition("#")
            yield (page.parent / path).resolve() if path else page, anchor


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, by GitHub's rule."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


@functools.cache
def commands() -> dict[str, set[str]]:
    """Return the options of each command, by its name as it is typed."""
    found: dict[str, set[str]] = {}

    def add(command: object, name: str) -> None:
        found[name] = {
            option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        for child in command.list_commands(None) if hasattr(command, "list_commands") else ():
            add(command.get_command(None, child), f"{name} {child}".strip())

    add(typer.main.get_command(app), "")
    return found


@each_page
def test_links_and_anchors_resolve(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), target
        assert not anchor or anchor in anchors(target), f"{target.name}#{anchor}"


@each_page
def test_named_files_exist(page: Path) -> None:
    if page.name == "CHANGELOG.md":
        return  # which names files of earlier versions
    for name in re.findall(r"`((?:[\w.-]+/)+[\w.-]+\.(?:py|md|yaml|toml))`", page.read_text(encoding="utf-8")):
        if name.split("/")[0] not in ("results", "packs"):
            assert any((base / name).exists() for base in (REPOSITORY, REPOSITORY / "clr_hpc")), name


@each_page
def test_commands_and_options_exist(page: Path) -> None:
    known = commands()
    text = page.read_text(encoding="utf-8").replace("\\\n", " ")
    for line in re.findall(r"clr-hpc ((?:[a-z][a-z-]*)[^`\n]*)", text):
        words = line.split("#")[0].split()
        name = words[0] if words[0] != "pack" or len(words) < 2 else " ".join(words[:2])
        if name not in known:
            assert re.match(r"pack nih\|table", name) or words[0] == "pack", line
            continue
        unknown = {word for word in words if re.fullmatch(r"--[a-z-]+", word)} - known[name] - {"--help"}
        assert not unknown, f"{line}: {unknown}"


def test_every_page_is_of_one_kind_and_linked_from_the_index() -> None:
    docs = REPOSITORY / "docs"
    pages = {page for page in docs.rglob("*.md") if page.name != "README.md"}
    assert {page.parent.name for page in pages if page.parent != docs} == set(KINDS)
    assert {page.name for page in pages if page.parent == docs} == {"architecture.md", "benchmarks.md"}
    assert pages - {target for target, _ in links(docs / "README.md")} == set()


def test_the_code_names_pages_that_exist() -> None:
    for folder in CODE_FOLDERS:
        for file in (REPOSITORY / folder).rglob("*"):
            if file.suffix in (".py", ".yaml", ".jinja", ".md"):
                for name in re.findall(r"docs/[\w/-]+\.md", file.read_text(encoding="utf-8")):
                    assert (REPOSITORY / name).exists(), f"{file}: {name}"


def test_benchmarks_have_their_section() -> None:
    page = (REPOSITORY / "docs/benchmarks.md").read_text(encoding="utf-8")
    scripts = {f"benchmarks/{file.name}" for file in (REPOSITORY / "benchmarks").glob("*.py")}
    assert set(re.findall(r"^## .*`(.+)`$", page, flags=re.MULTILINE)) == scripts


def test_the_readme_packs_images_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    block = re.search(
        r"```sh\n(clr-hpc pack table.*?)```", (REPOSITORY / "README.md").read_text(), flags=re.DOTALL
    )
    assert block is not None
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").mkdir()
    rng = np.random.default_rng(0)
    names = [f"{i}.png" for i in range(30)]
    for name in names:
        Image.fromarray(rng.integers(0, 256, (256, 256), dtype=np.uint8)).save(tmp_path / "films" / name)
    table = pd.DataFrame({"file": names, "patient": range(30), "Effusion": rng.integers(0, 2, 30)})
    table.to_csv(tmp_path / "labels.csv", index=False)
    pack, inspect = block[1].splitlines()[:2]
    for command in (f"{pack} --workers 1", inspect):
        outcome = CliRunner().invoke(app, command.split()[1:])
        assert outcome.exit_code == 0, outcome.output
