"""The article's grid on the rates that benchmarks/plan.py assumes."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from clr_hpc.config.expand import expand
from clr_hpc.planning.plan import make_plan
from clr_hpc.planning.workload import WorkItem
from parts.simulation import Conditions, simulate


@pytest.fixture(scope="module")
def benchmark(repository: Path) -> ModuleType:
    found = importlib.util.spec_from_file_location("benchmark_of_plans", repository / "benchmarks" / "plan.py")
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def work(benchmark: ModuleType) -> tuple[WorkItem, ...]:
    """Return the grid's runs."""
    found: tuple[WorkItem, ...] = benchmark.work_of(
        expand(benchmark.load_study(benchmark.PAPER), "0" * 64), benchmark.counts()
    )
    return found


@pytest.mark.parametrize(
    ("gpus", "most"), [(1, 1.001), (64, 1.01), (512, 1.03), (1024, 1.06), (4096, 1.2), (10_000, 1.01)]
)
def test_the_articles_grid_ends_near_the_lower_bound(
    gpus: int, most: float, benchmark: ModuleType, work: tuple[WorkItem, ...]
) -> None:
    forecast = benchmark.forecast_on(work, gpus)
    plan = make_plan(forecast, benchmark.LANE_START_SECONDS)
    assert len(plan.in_order()) == len(work) == 3900
    assert 1 <= plan.makespan_seconds / plan.lower_bound_seconds <= most
    carried_out = simulate(plan, forecast, Conditions(), seed=0)
    assert carried_out.makespan_seconds == pytest.approx(plan.makespan_seconds, rel=0.01)
