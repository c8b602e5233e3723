"""The documentation as a site: it builds strictly, and its reference has all that the code has."""

import html
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
import typer

from clr_hpc.cli.app import app
from clr_hpc.cli.start.schema import Kind, schema_text
from docs.site.__main__ import build
from docs.site.check import BrokenSiteError, check_site
from docs.site.keys import keys_page
from docs.site.notebook import notebook_page


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("docs")
    build(output)
    return output / "html"


def text_of(page: Path) -> str:
    return html.unescape(re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8")))


def test_every_page_is_in_the_navigation(site: Path, repository: Path) -> None:
    pages = {file.relative_to(site).as_posix() for file in site.rglob("*.html")} - {"404.html"}
    linked = set(re.findall(r'<a href="(?:\./)?([^"#:]+)" class="md-nav__link', (site / "index.html").read_text()))
    # the index of docs/ is in the navigation as its headings and links
    assert pages - linked == {"docs/index.html"}
    sources = {f.relative_to(repository).with_suffix(".html").as_posix() for f in repository.glob("docs/*/*.md")}
    assert sources | {"docs/tutorials/from-python.html", "jobs/paper.html"} <= pages


def test_the_page_of_commands_has_every_option(site: Path) -> None:
    text = text_of(site / "docs/reference/commands.html")

    def check(command: Any, path: str) -> None:
        assert path in text
        for parameter in command.params:
            is_named = parameter.param_type_name == "argument" and parameter.metavar
            names = [parameter.metavar] if is_named else parameter.opts
            for option in () if getattr(parameter, "hidden", False) else names:
                assert option in text, f"{path} {option}"
        for name in command.list_commands(None) if hasattr(command, "list_commands") else ():
            check(command.get_command(None, name), f"{path} {name}")

    check(typer.main.get_command(app), "clr-hpc")


@pytest.mark.parametrize("kind", Kind)
def test_the_page_of_keys_has_every_key_with_its_meaning(kind: Kind) -> None:
    def mappings(schema: Any) -> Iterator[dict[str, Any]]:
        if isinstance(schema, dict):
            if isinstance(schema.get("properties"), dict):
                yield schema["properties"]
            schema = list(schema.values())
        for each in schema if isinstance(schema, list) else ():
            yield from mappings(each)

    page = keys_page(kind)
    for properties in mappings(json.loads(schema_text(kind))):
        for key, value in properties.items():
            meaning = " ".join(value.get("description", "").split()).replace("|", "\\|")
            assert re.search(rf"^\| `{key}` \| {re.escape(meaning)} \| .+ \|.*\|$", page, flags=re.MULTILINE), key


def test_keys_say_their_type_bounds_and_default() -> None:
    page = keys_page(Kind.STUDY)
    assert "| `batch_size` | Images per step, over all processes of a run. | integer > 0 | `32` |" in page
    assert "| What is trained after what, and with which policies. | [mapping](#stages) | required |" in page
    assert "[`triangular`](#triangular)" in page


def test_what_leads_nowhere_or_loads_from_elsewhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<h1 id="here"></h1><a href="#here"></a><a href="b.html#there"></a><a href="https://elsewhere.org"></a>'
    )
    (tmp_path / "b.html").write_text('<h1 id="there"></h1>')
    check_site(tmp_path)
    (tmp_path / "b.html").write_text('<a href="c.yaml"></a><img src="d.png"><script src="https://cdn.org/e.js">')
    with pytest.raises(BrokenSiteError) as error:
        check_site(tmp_path)
    assert str(error.value).splitlines() == [
        "a.html: b.html#there: no such anchor",
        "b.html: loads https://cdn.org/e.js",
        "b.html: c.yaml: no such file",
        "b.html: d.png: no such file",
    ]


def test_a_notebook_shows_code_and_what_it_printed_and_drew(tmp_path: Path) -> None:
    made = nbformat.v4.new_notebook()
    code = nbformat.v4.new_code_cell("print(1)")
    code.outputs = [
        nbformat.v4.new_output("stream", text="1\n"),
        nbformat.v4.new_output("display_data", {"image/png": "iVBO\nRw==", "text/plain": "<Figure size 640x480>"}),
    ]
    made.cells = [nbformat.v4.new_markdown_cell("# A title"), code, nbformat.v4.new_code_cell("x = 1")]
    nbformat.write(made, tmp_path / "a.ipynb")
    assert notebook_page(tmp_path / "a.ipynb").split("\n\n") == [
        "# A title",
        "```python\nprint(1)\n```",
        "```text\n1\n```",
        "![Figure of the cell above](data:image/png;base64,iVBORw==)",
        "```python\nx = 1\n```\n",
    ]
