"""The documentation as a site: the pages as they are, and a reference that the code itself writes.

``make docs`` runs it from the repository's folder. Pages are copied into ``build/docs/pages/`` in the folders they
have, so that their links stay as they are. Studies and notebooks, to which pages link, become pages.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import yaml

from clr_hpc.cli.start.schema import Kind
from docs.site.check import check_site
from docs.site.commands import commands_page
from docs.site.keys import keys_page
from docs.site.notebook import notebook_page

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]

FOLDERS = ("docs", "slurm", "jobs")
"""Where pages lie, besides the repository's own folder."""
GENERATED: dict[str, tuple[str, Callable[[], str]]] = {
    "Commands": ("commands", commands_page),
    "Keys of a study": ("study-keys", partial(keys_page, Kind.STUDY)),
    "Keys of a site file": ("site-keys", partial(keys_page, Kind.SITE)),
}
"""Pages that the code writes into the reference, by title: the file's name and what returns its text."""

Navigation = list[dict[str, "str | Navigation"]]


def build(output: Path) -> None:
    """Build the site.

    Args:
        output: the folder; ``html/`` in it is the site. What is there of an earlier build goes.

    Raises:
        CalledProcessError: Zensical warns of something, such as a link to no page; its output says of what.
        BrokenSiteError: a link leads nowhere, or a page loads something from another host.
    """
    shutil.rmtree(output, ignore_errors=True)
    stage(output / "pages")
    settings = (HERE / "mkdocs.yml").read_text(encoding="utf-8")
    index = (REPOSITORY / "docs" / "README.md").read_text(encoding="utf-8")
    entries = yaml.safe_dump({"nav": navigation(index)}, allow_unicode=True, sort_keys=False)
    (output / "mkdocs.yml").write_text(f"{settings}{entries}", encoding="utf-8")
    zensical = [sys.executable, "-m", "zensical", "build", "--strict", "--clean"]
    subprocess.run(zensical, cwd=output, check=True)
    check_site(output / "html")


def stage(pages: Path) -> None:
    """Write every page and image of the site into a folder, in the places that they have in the repository."""
    files = [*REPOSITORY.glob("*.md")]
    files += [file for folder in FOLDERS for file in (REPOSITORY / folder).rglob("*")]
    for file in files:
        text = as_page(file)
        target = pages / file.relative_to(REPOSITORY)
        if text is not None:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.with_suffix(".md").write_text(to_pages(text), encoding="utf-8")
        elif file.suffix in (".png", ".svg"):
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
    shutil.copy(HERE / "site.css", pages / "docs")
    reference = pages / "docs" / "reference"
    for name, write in GENERATED.values():
        (reference / f"{name}.md").write_text(write(), encoding="utf-8")


def as_page(file: Path) -> str | None:
    """Return a file of the repository as Markdown, or None where it is no page."""
    match file.suffix:
        case ".md":
            return file.read_text(encoding="utf-8")
        case ".ipynb":
            return notebook_page(file)
        case ".yaml":
            return f"# {file.name}\n\n```yaml\n{file.read_text(encoding='utf-8')}```\n"
    return None


def to_pages(text: str) -> str:
    """Let links to studies and notebooks lead to the pages made of them."""
    return re.sub(r"(\]\((?!https?:)[^)\s#]+)\.(?:yaml|ipynb)\)", r"\1.md)", text)


def navigation(index: str) -> Navigation:
    """Return the entries of the navigation.

    Args:
        index: the text of ``docs/README.md``, whose pages come in its order and under its headings.
    """
    entries: Navigation = [{"Home": "README.md"}]
    for section in to_pages(index).split("\n## ")[1:]:
        links = re.findall(r"\[([^]]+)\]\(([^)#]+)\)", section)  # those to a part of a page stay in the index
        pages: Navigation = [{title[0].upper() + title[1:]: _in_repository(path)} for title, path in links]
        heading = section.partition("\n")[0]
        if heading == "Reference":
            pages[:0] = [{title: f"docs/reference/{name}.md"} for title, (name, _) in GENERATED.items()]
        entries.append({heading: pages})
    files = [
        file.relative_to(REPOSITORY) for folder in FOLDERS for file in sorted((REPOSITORY / folder).glob("*.yaml"))
    ]
    examples: Navigation = [{file.name: str(file.with_suffix(".md"))} for file in files]
    project: Navigation = [{"Contributing": "CONTRIBUTING.md"}, {"Changelog": "CHANGELOG.md"}]
    return [*entries, {"Example files": examples}, {"Project": project}]


def _in_repository(link: str) -> str:
    return str((REPOSITORY / "docs" / link).resolve().relative_to(REPOSITORY))


if __name__ == "__main__":
    build(Path(sys.argv[1]) if len(sys.argv) > 1 else REPOSITORY / "build" / "docs")
