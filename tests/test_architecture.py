"""The import picture of docs/architecture.md, and what may not be imported where."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

MAY_IMPORT: dict[str, set[str]] = {
    "config": set(),
    "store": {"config"},
    "data": {"config", "store"},
    "schedule": {"config"},
    "models": {"config"},
    "training": {"config", "store", "data", "schedule", "models"},
    "monitoring": {"config", "store"},
    "planning": {"config", "store", "schedule", "data"},
    "places": {"config", "store", "data", "schedule", "models", "training", "monitoring", "planning"},
    "tuning": {"config", "store", "data", "training", "planning", "places"},
    "reporting": {"config", "store"},
}
AT_THE_TOP = {
    "cli",
    "cli_options",
    "cli_pack",
    "cli_plan",
    "cli_range_test",
    "cli_refusal",
    "cli_run",
    "cli_slurm",
    "cli_tune",
    "cli_training",
    "cli_watch",
    "plan_display",
    "profile_display",
    "range_test_display",
    "run_display",
    "slurm_display",
    "status_display",
}
"""Modules of the command line, which import from all."""


def imports(file: Path) -> Iterator[str]:
    """Yield every module that a file imports, also inside functions."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def test_every_folder_imports_only_from_what_stands_above_it(repository: Path) -> None:
    package = repository / "clr_hpc"
    seen = set()
    for file in package.rglob("*.py"):
        part = file.relative_to(package).parts[0].removesuffix(".py")
        seen.add(part)
        if part in AT_THE_TOP | {"__init__"}:
            continue
        parts = {name.split(".")[1] for name in imports(file) if name.startswith("clr_hpc.")}
        allowed = MAY_IMPORT[part] | {part, "__version__"}
        assert parts <= allowed, f"{file.relative_to(repository)} imports {sorted(parts - allowed)}"
    assert seen >= set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("system", "file"),
    [
        ("ray", "places/ray/place.py"),
        ("submitit", "places/slurm/sbatch.py"),
        ("optuna", "tuning/optuna_search.py"),
        ("hyperopt", "tuning/hyperopt_search.py"),
        ("smac", "tuning/smac_search.py"),
    ],
)
def test_a_foreign_system_is_imported_by_one_file(system: str, file: str, repository: Path) -> None:
    importing = {
        path.relative_to(repository / "clr_hpc").as_posix()
        for path in (repository / "clr_hpc").rglob("*.py")
        if any(name.split(".")[0] == system for name in imports(path))
    }
    assert importing == {file}


IMPORTS_OF = """
import sys
{statement}
print(*(name for name in {heavy!r} if name in sys.modules))
"""


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import clr_hpc.cli", ["torch", "numpy", "pandas", "pydantic", "sklearn", "matplotlib", "tensorboard"]),
        ("import clr_hpc.config.study", ["torch", "numpy", "pandas", "sklearn", "matplotlib"]),
        ("import clr_hpc.data.manifest", ["torch", "pandas", "pyarrow", "sklearn", "matplotlib"]),
        ("import clr_hpc.places.local.place, clr_hpc.store.study_folder", ["torch", "pandas", "sklearn"]),
        (
            "import clr_hpc.planning.plan, clr_hpc.places.processes.probe",
            ["torch", "pandas", "sklearn", "matplotlib"],
        ),
        (
            "import submitit, clr_hpc.places.slurm.place, clr_hpc.places.slurm.status",
            ["torch", "pandas", "sklearn", "matplotlib", "ray"],
        ),
        (
            "import clr_hpc.monitoring.status, clr_hpc.status_display, clr_hpc.monitoring.tensorboard",
            ["torch", "numpy", "pandas", "sklearn", "tensorboard"],
        ),
        (
            "import clr_hpc.tuning.trial_queue, clr_hpc.tuning.outcome, clr_hpc.tuning.batch_size",
            ["torch", "pandas", "sklearn", "optuna", "hyperopt", "smac"],
        ),
        ("import clr_hpc.schedule.policies", ["torch", "numpy", "pandas"]),
        ("import clr_hpc.reporting.report", ["torch", "tensorboard"]),
        ("import clr_hpc.training.loop, clr_hpc.training.run", ["ray", "submitit", "sklearn"]),
    ],
)
def test_light_modules_stay_light(statement: str, heavy: list[str]) -> None:
    code = IMPORTS_OF.format(statement=statement, heavy=heavy)
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
