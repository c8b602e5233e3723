import tomllib
from pathlib import Path

import yaml


def test_environment_yml_says_what_pyproject_says(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((repository / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert environment["name"] == project["name"]
    assert f"python{project['requires-python']}" in conda
    assert sorted(pip) == sorted([*project["dependencies"], "--editable .[ray,slurm,tune]"])


def test_version_is_written_once(repository: Path) -> None:
    import clr_hpc

    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    assert clr_hpc.__version__ in (repository / "CHANGELOG.md").read_text()
