"""Studies that come with the package are found by name, and say how their pack is made."""

from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.cli.start.studies import command_for_pack, subject
from clr_hpc.config.load import find_study, load_study, shipped_studies
from clr_hpc.data.pack import Pack


def told(*words: str) -> str:
    return CliRunner().invoke(app, list(words)).output


def test_the_list_has_every_study_of_jobs_and_prints_one(repository: Path) -> None:
    listed = {line.split()[0] for line in told("studies").splitlines() if "packs/" in line}
    assert listed == {file.stem for file in (repository / "jobs").glob("*.yaml")}
    _, _, rest = (repository / "jobs" / "tune.yaml").read_text().partition("\n")
    assert told("studies", "tune").partition("\n")[2] == rest
    assert "did you mean 'quickstart'?" in told("studies", "quikstart")


def test_a_name_is_the_shipped_study_unless_something_of_that_name_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = load_study(repository / "jobs" / "quickstart.yaml")
    assert load_study(Path("quickstart")) == shipped
    assert find_study(Path("sub/quickstart")) == Path("sub/quickstart")
    assert "is just quickstart" in told("run", "jobs/quickstart.yaml")
    Path("quickstart").write_text(yaml.safe_dump(yaml.safe_load(told("studies", "quickstart")) | {"seeds": [7]}))
    assert load_study(Path("quickstart")).seeds == (7,)


def test_a_study_without_its_pack_is_answered_with_the_command_that_makes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_pack: Pack
) -> None:
    monkeypatch.chdir(tmp_path)
    for command in ("run", "plan"):
        answer = told(command, "quickstart")
        assert answer.endswith(
            "make it with: clr-hpc pack phantom --images 1000 --size 64 --output packs/phantom\n"
        )
    assert "command" not in told("run", "quickstart", "--set", "pack=elsewhere"), "its comment is about another"
    assert "6 runs" in told("run", "quickstart", "--dry-run", "--set", f"pack={small_pack.folder}")
    assert list(tmp_path.iterdir()) == []


def test_a_study_says_what_it_is_about_and_how_its_pack_is_made(tmp_path: Path) -> None:
    for file in shipped_studies().values():
        assert 20 < len(subject(file)) < 90
        assert command_for_pack(file, load_study(file).pack), file
    file = tmp_path / "mine.yaml"
    file.write_text(
        "# Mine, 1.5 hours. Then more.\n#   clr-hpc pack phantom \\\n#     --output packs/a\nname: mine\n"
    )
    assert subject(file) == "Mine, 1.5 hours"
    assert command_for_pack(file, "packs/a") == "clr-hpc pack phantom --output packs/a"
    assert command_for_pack(file, "packs/b") is None
    file.write_text("")
    assert command_for_pack(file, "packs/a") is None
