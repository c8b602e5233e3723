"""The picture of docs/architecture.md, held against the imports of the package."""

import ast
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import pytest

MOST_MODULES = 20
"""In one folder: what a reader can take in."""


@cache
def imports(file: Path) -> tuple[str, ...]:
    """Return every module that a file imports, also inside functions."""
    return tuple(_imports(file))


def _imports(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def rooms(repository: Path) -> dict[str, set[str]]:
    """Return what each room of docs/architecture.md may import, by the tables' first and last columns."""
    found: dict[str, set[str]] = {}
    for line in (repository / "docs" / "architecture.md").read_text().splitlines():
        room = re.match(r"\| `([a-z_/]+)/` \| .* \| ([^|]*) \|$", line)
        if room:
            found[room[1]] = set(re.findall(r"`([a-z_/]+)`", room[2]))
    return found


def room_of(module: str, known: Mapping[str, set[str]]) -> str:
    """Return the innermost room that a module of the package lies in; "" for the root."""
    parts = module.split(".")[1:]
    inner = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
    return next((name for name in inner if name in known), "")


def modules(repository: Path) -> dict[str, Path]:
    """Return every module of the package by its dotted name."""
    found = {}
    for file in (repository / "clr_hpc").rglob("*.py"):
        parts = file.relative_to(repository).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = file
    return found


def test_every_room_imports_what_its_row_says(repository: Path) -> None:
    """All of it, too: an arrow that no import draws any more would let one be drawn unseen."""
    known = rooms(repository)
    folders = {
        file.relative_to(repository / "clr_hpc").parts[0] for file in (repository / "clr_hpc").rglob("*/*.py")
    }
    assert folders <= set(known)
    used: dict[str, set[str]] = {room: set() for room in known}
    for module, file in modules(repository).items():
        room = room_of(module, known)
        if room:
            others = {room_of(name, known) for name in imports(file) if name.startswith("clr_hpc.")} - {"", room}
            assert others <= known[room], f"{file.relative_to(repository)} imports {sorted(others - known[room])}"
            used[room] |= others
    assert used == known


def test_no_modules_import_each_other_in_a_circle(repository: Path) -> None:
    """Imports inside functions count, and those for type checking: a circle ties modules whenever it is run."""
    files = modules(repository)
    graph = {module: {name for name in imports(file) if name in files} for module, file in files.items()}
    circles = [component for component in strongly_connected(graph) if len(component) > 1]
    assert circles == []


def test_circles_are_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set(), "f": {"e"}}
    assert [sorted(part) for part in strongly_connected(graph) if len(part) > 1] == [["a", "b", "c"]]


def strongly_connected(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield the strongly connected components of a graph (Tarjan 1972)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(node: str) -> Iterator[list[str]]:
        number[node] = lowest[node] = len(number)
        stack.append(node)
        for other in sorted(graph[node]):
            if other not in number:
                yield from visit(other)
                lowest[node] = min(lowest[node], lowest[other])
            elif other in stack:
                lowest[node] = min(lowest[node], number[other])
        if lowest[node] == number[node]:
            component = stack[stack.index(node) :]
            del stack[stack.index(node) :]
            yield component

    for node in sorted(graph):
        if node not in number:
            yield from visit(node)


def test_no_folder_holds_more_than_a_reader_takes_in(repository: Path) -> None:
    sizes = Counter(file.parent for file in (repository / "clr_hpc").rglob("*.py") if file.name != "__init__.py")
    assert {folder.name: size for folder, size in sizes.items() if size > MOST_MODULES} == {}


def test_the_root_holds_folders_alone(repository: Path) -> None:
    files = {path.name for path in (repository / "clr_hpc").iterdir() if path.is_file()}
    assert files == {"__init__.py", "__init__.pyi", "__main__.py", "py.typed"}


@pytest.mark.parametrize(
    ("system", "file"),
    [
        ("ray", "places/ray/train.py"),
        ("submitit", "places/slurm/sbatch.py"),
        ("optuna", "tuning/optuna_search.py"),
        ("hyperopt", "tuning/hyperopt_search.py"),
        ("smac", "tuning/smac_search.py"),
        ("captum", "inference/gradcam.py"),
        ("mlflow", "monitoring/trackers/mlflow.py"),
        ("wandb", "monitoring/trackers/wandb.py"),
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
        ("import clr_hpc", ["torch", "numpy", "pydantic"]),
        ("from clr_hpc import Triangular, load_study, expand", ["torch", "numpy", "pandas"]),
        (
            "import clr_hpc.cli.app",
            ["torch", "numpy", "pandas", "pydantic", "sklearn", "matplotlib", "tensorboard"],
        ),
        ("import clr_hpc.config.study", ["torch", "numpy", "pandas", "sklearn", "matplotlib"]),
        ("import clr_hpc.data.manifest", ["torch", "pandas", "pyarrow", "sklearn", "matplotlib"]),
        ("import clr_hpc.places.local.place, clr_hpc.store.study_folder", ["torch", "pandas", "sklearn"]),
        (
            "import clr_hpc.planning.plan, clr_hpc.places.processes.probe",
            ["torch", "pandas", "sklearn", "matplotlib"],
        ),
        (
            "import submitit, clr_hpc.places.ray.place, clr_hpc.places.slurm.place, clr_hpc.places.slurm.jobs",
            ["torch", "pandas", "sklearn", "matplotlib", "ray"],
        ),
        (
            "import clr_hpc.monitoring.status, clr_hpc.cli.display.status, clr_hpc.monitoring.tensorboard",
            ["torch", "numpy", "pandas", "sklearn", "tensorboard"],
        ),
        (
            "import clr_hpc.tuning.trial_queue, clr_hpc.tuning.outcome, clr_hpc.tuning.batch_size",
            ["torch", "pandas", "sklearn", "optuna", "hyperopt", "smac"],
        ),
        (
            "import pkgutil, clr_hpc.store as store; "
            "[__import__(module.name) for module in pkgutil.iter_modules(store.__path__, 'clr_hpc.store.')]",
            ["torch", "numpy", "pandas", "pyarrow", "tensorboard"],
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
