"""What the pages on policies show is true: the code runs and prints what stands there, the YAML is valid."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import TypeAdapter

from clr_hpc.config.policy import POLICIES, Policy

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def page() -> str:
    return (DOCS / "reference/policies.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def guide() -> str:
    return (DOCS / "how-to/use-policies-in-your-loop.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)


def test_the_example_prints_what_the_page_says(guide: str, capsys: pytest.CaptureFixture[str]) -> None:
    (example,), (output,) = blocks(guide, "python"), blocks(guide, "text")
    exec(compile(example, "use-policies-in-your-loop.md", "exec"), {"__name__": "example"})
    assert capsys.readouterr().out == output


def test_every_policy_in_yaml_is_valid(page: str) -> None:
    written = [yaml.safe_load(block) for block in blocks(page, "yaml")]
    assert written
    for policy in written:
        TypeAdapter(Policy).validate_python(policy)


def test_every_policy_has_its_row(page: str) -> None:
    assert set(re.findall(r"^\| `(\w+)` \|", page, flags=re.MULTILINE)) == set(POLICIES)


def test_the_picture_is_small_and_is_what_its_command_draws(tmp_path: Path) -> None:
    shipped, drawn = DOCS / "images/policies.svg", tmp_path / "policies.svg"
    command = [sys.executable, "-W", "error", str(DOCS / "images/draw_policies.py"), str(drawn)]
    subprocess.run(command, check=True, capture_output=True)
    assert shipped.stat().st_size < 100_000
    for picture in (shipped, drawn):
        text = picture.read_text(encoding="utf-8")
        assert [name for name in POLICIES if f">{name}<" not in text] == [], f"{picture}: draw it again"
