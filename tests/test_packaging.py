import ast
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import clr_hpc
from clr_hpc.config.policy import POLICIES


def test_environment_yml_says_what_pyproject_says(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    environment = yaml.safe_load((repository / "environment.yml").read_text())
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    (pip,) = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    assert environment["name"] == project["name"]
    assert f"python{project['requires-python']}" in conda
    assert sorted(pip) == sorted(
        [*project["dependencies"], "--editable .[ray,slurm,tune,dicom,explain,export,pyod,mlflow,wandb]"]
    )


def test_what_a_wheel_has_copies_of_lies_where_the_documents_name_it(repository: Path) -> None:
    links = {"clr_hpc/studies": "jobs", "clr_hpc/manual": "docs"}
    for name in ("site.example.yaml", "site.schema.json"):
        links[f"clr_hpc/places/slurm/{name}"] = f"slurm/{name}"
    assert {link: (repository / link).resolve() for link in links} == {
        link: repository / target for link, target in links.items()
    }
    data = tomllib.loads((repository / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"][
        "clr_hpc"
    ]
    assert [pattern for pattern in data if not list((repository / "clr_hpc").glob(pattern))] == []


def test_a_wheel_has_what_the_commands_read(repository: Path, tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="builds without a network, so with what is here")
    source = tmp_path / "source"
    for folder in ("clr_hpc", "docs", "jobs", "slurm"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(repository / folder, source / folder, symlinks=True, ignore=ignored)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(repository / name, source)
    build = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"
    command = [sys.executable, "-c", build, str(tmp_path)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    has = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    of_checkout = {
        file.relative_to(repository).as_posix()
        for pattern in ("*.py", "*.pyi", "*.typed", "*.jinja", "*.css", "*.js", "*.yaml")
        for file in (repository / "clr_hpc").rglob(pattern)
    }
    pages = {
        f"clr_hpc/manual/{file.relative_to(repository / 'docs')}" for file in (repository / "docs").rglob("*.md")
    }
    studies = {f"clr_hpc/studies/{file.name}" for file in (repository / "jobs").iterdir()}
    assert has == of_checkout | pages | studies | {"clr_hpc/places/slurm/site.schema.json"}


def test_version_is_written_once(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text())["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]
    assert clr_hpc.__version__ in (repository / "CHANGELOG.md").read_text()


def test_every_export_is_there_and_known_to_type_checkers(repository: Path) -> None:
    from clr_hpc import PolicyScheduler, Triangular
    from clr_hpc.schedule.scheduler import PolicyScheduler as Named

    assert PolicyScheduler is Named
    assert Triangular is POLICIES["triangular"]
    assert [name for name in clr_hpc.__all__ if getattr(clr_hpc, name).__name__ != name] == []
    stub = ast.parse((repository / "clr_hpc" / "__init__.pyi").read_text())
    imported = {
        f"{node.module}.{alias.name}"
        for node in stub.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == {f"{getattr(clr_hpc, name).__module__}.{name}" for name in clr_hpc.__all__}


def test_every_policy_is_exported() -> None:
    assert {kind.__name__ for kind in POLICIES.values()} <= set(clr_hpc.__all__)
