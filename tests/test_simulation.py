"""Laws of plans and of the queue, on lanes of any number, speed and fate."""

from collections import Counter, defaultdict
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import item, table

from clr_hpc.config.resources import Resources
from clr_hpc.planning.plan import Plan, make_plan
from clr_hpc.planning.throughput import Forecast
from clr_hpc.planning.workload import WorkItem
from parts.simulation import Conditions, Simulation, simulate

NETWORKS = ("densenet121", "alexnet")
CALM = Conditions()
TOLERANCE = 1 + 1e-9


@st.composite
def works(draw: st.DrawFn) -> list[WorkItem]:
    """Draw chains: baselines with up to four runs after each."""
    chains = draw(
        st.lists(
            st.tuples(st.integers(1, 900), st.lists(st.integers(1, 900), max_size=4), st.sampled_from(NETWORKS)),
            min_size=1,
            max_size=12,
        )
    )
    work = []
    for number, (seconds, after, network) in enumerate(chains):
        work.append(item(f"base{number}", seconds, network=network))
        work += [item(f"run{number}.{k}", s, f"base{number}", network) for k, s in enumerate(after)]
    return work


conditions = st.builds(
    Conditions,
    speed_spread=st.sampled_from([0.0, 0.2]),
    failures_per_lane_day=st.sampled_from([0.0, 100.0]),
    restart_seconds=st.floats(1, 100),
    checkpoint_seconds=st.floats(1, 100),
)


def planned(work: list[WorkItem], gpus: int, most_workers: int) -> tuple[Forecast, Plan]:
    resources = Resources(gpus=gpus, cpus=gpus)
    forecast = Forecast(work, table(NETWORKS), resources, resources.shapes(most_workers))
    return forecast, make_plan(forecast, lane_start_seconds=5.0)


def assert_lawful(simulation: Simulation, work: list[WorkItem]) -> None:
    whole = Counter(piece.name for piece in simulation.pieces if piece.is_whole)
    assert whole == Counter(each.name for each in work), "every run ends exactly once"
    ends = {piece.name: piece.end for piece in simulation.pieces if piece.is_whole}
    after = {each.name: each.after for each in work}
    of_lane = defaultdict(list)
    of_run = defaultdict(list)
    for piece in simulation.pieces:
        baseline = after[piece.name]
        assert baseline is None or piece.start >= ends[baseline], "no run starts before its baseline ended"
        of_lane[piece.lane].append((piece.start, piece.end))
        of_run[piece.name].append((piece.start, piece.end))
    for pieces in (*of_lane.values(), *of_run.values()):
        for (_, end), (start, _) in pairwise(sorted(pieces)):
            assert end <= start, "no lane trains two runs at once, and no run is trained twice at once"


@given(work=works(), gpus=st.integers(1, 24), most_workers=st.sampled_from([1, 2, 4]), under=conditions)
@settings(max_examples=150)
def test_a_study_is_carried_out_lawfully_whatever_happens(
    work: list[WorkItem], gpus: int, most_workers: int, under: Conditions
) -> None:
    forecast, plan = planned(work, gpus, most_workers)
    simulation = simulate(plan, forecast, under, seed=1)
    assert_lawful(simulation, work)
    assert simulation.makespan_seconds * TOLERANCE >= simulation.lower_bound_seconds
    assert simulate(plan, forecast, under, seed=1) == simulation, "same seed, same result"


@given(work=works(), gpus=st.integers(1, 24), most_workers=st.sampled_from([1, 2, 4]))
@settings(max_examples=100)
def test_plans_are_lawful(work: list[WorkItem], gpus: int, most_workers: int) -> None:
    forecast, plan = planned(work, gpus, most_workers)
    runs = {run.name: run for lane in plan.lanes for run in lane.runs}
    assert sorted(runs) == sorted(each.name for each in work)
    assert sum(len(lane.runs) for lane in plan.lanes) == len(work)
    for each in work:
        assert each.after is None or runs[each.name].start >= runs[each.after].end
    for lane in plan.lanes:
        assert all(first.end <= second.start for first, second in pairwise(lane.runs))
        for run in lane.runs:
            assert run.end - run.start == pytest.approx(forecast.seconds_in(run.name, lane.shape))
    assert sum(plan.resources.taken(lane.shape) for lane in plan.lanes) <= gpus
    hard = plan.lane_start_seconds + plan.bound.hard_seconds
    assert plan.makespan_seconds * TOLERANCE >= hard >= plan.lower_bound_seconds / TOLERANCE


def test_failures_cost_at_most_the_checkpoint_interval_each() -> None:
    work = [item(f"run{number}", 5_000) for number in range(8)]
    forecast, plan = planned(work, 4, 1)
    calm = simulate(plan, forecast, CALM, seed=0)
    failing = simulate(plan, forecast, Conditions(failures_per_lane_day=50, checkpoint_seconds=30), seed=0)
    assert failing.failures > 5
    assert 0 < failing.lost_seconds <= 30 * failing.failures
    assert calm.makespan_seconds < failing.makespan_seconds
    assert simulate(plan, forecast, Conditions(failures_per_lane_day=50), seed=1) != failing


def test_a_failed_run_goes_on_from_its_checkpoint() -> None:
    forecast, plan = planned([item("only", 10_000)], 1, 1)
    simulation = simulate(plan, forecast, Conditions(failures_per_lane_day=40, restart_seconds=10), seed=3)
    assert len(simulation.pieces) > 2
    trained = sum(piece.end - piece.start for piece in simulation.pieces)
    assert trained == pytest.approx(10_000 + simulation.lost_seconds)


def test_without_disturbance_the_queue_carries_out_the_plan() -> None:
    work = [item(f"base{n}", 100 + n) for n in range(6)]
    work += [item(f"run{n}.{k}", 50 + n, f"base{n}") for n in range(6) for k in range(3)]
    for gpus in (1, 4, 16, 64):
        forecast, plan = planned(work, gpus, 4)
        assert simulate(plan, forecast, CALM, seed=0).makespan_seconds == pytest.approx(plan.makespan_seconds)
