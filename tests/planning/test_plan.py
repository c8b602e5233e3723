import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from made_up import item, make_forecast, table
from mutation import damaged_json

from clr_hpc.config.base import UserError
from clr_hpc.config.resources import LaneShape, Resources
from clr_hpc.planning.gantt import save_chart
from clr_hpc.planning.lanes import cut_lanes
from clr_hpc.planning.plan import Plan, make_plan, plan_as_json, write_plan
from clr_hpc.planning.schedule import lower_bound
from clr_hpc.planning.throughput import (
    SERIAL_SHARE,
    Forecast,
    Throughput,
    ThroughputError,
    ThroughputTable,
    read_throughput,
    write_throughput,
)
from clr_hpc.planning.workload import Load, StepKind, WorkItem

WIDE_SPEED = 1 / (SERIAL_SHARE + (1 - SERIAL_SHARE) / 4)
"""Of a lane of four workers."""


def lanes_by_workers(plan: Plan) -> dict[int, int]:
    return {w: sum(lane.shape.workers == w for lane in plan.lanes) for w in {x.shape.workers for x in plan.lanes}}


def test_more_work_than_gpus_gets_narrow_lanes_without_gaps() -> None:
    plan = make_plan(make_forecast([item(f"run{number}", 100) for number in range(40)], 4, most_workers=4))
    assert lanes_by_workers(plan) == {1: 4}
    assert plan.makespan_seconds == plan.lower_bound_seconds == 1000
    assert plan.busy_hours == plan.held_hours == pytest.approx(4000 / 3600)


def test_one_long_run_and_many_gpus_get_a_wide_lane() -> None:
    work = [item("long", 1000), *(item(f"short{number}", 100) for number in range(4))]
    plan = make_plan(make_forecast(work, 8, most_workers=4))
    assert lanes_by_workers(plan)[4] == 1
    assert plan.makespan_seconds == pytest.approx(1000 / WIDE_SPEED)
    assert plan.makespan_seconds == pytest.approx(plan.lower_bound_seconds)


def test_a_chain_is_begun_first() -> None:
    work = [*(item(f"short{n}", 100) for n in range(4)), item("base", 300), item("again", 300, "base")]
    plan = make_plan(make_forecast(work, 2))
    assert plan.in_order()[0] == "base"
    assert plan.makespan_seconds == 600


def test_lanes_that_are_given_are_kept() -> None:
    forecast = make_forecast([item(f"run{number}", 100) for number in range(6)], 4, most_workers=4)
    two = [LaneShape(workers=2, gpus_per_worker=1)] * 2
    assert lanes_by_workers(make_plan(forecast, lanes=two)) == {2: 2}
    with pytest.raises(ValueError, match="8 workers, 1 GPU each; lanes with known throughput are 1 worker"):
        make_plan(forecast, lanes=[LaneShape(workers=8, gpus_per_worker=1)])


def test_the_start_of_lanes_counts() -> None:
    plan = make_plan(make_forecast([item("a", 100)], 1), lane_start_seconds=7)
    assert plan.makespan_seconds == plan.lower_bound_seconds == 107
    assert plan.lanes[0].runs[0].start == 7
    assert plan.held_hours > plan.busy_hours


def test_nothing_to_do_is_a_plan() -> None:
    plan = make_plan(make_forecast([], 4), lane_start_seconds=7)
    assert plan.lanes == ()
    assert plan.makespan_seconds == plan.busy_hours == plan.lower_bound_seconds == 0
    assert plan.queue().is_finished


def test_cohorts_are_networks_at_a_size() -> None:
    work = [item("a", 100), item("b", 50, network="alexnet"), item("c", 25, network="alexnet")]
    plan = make_plan(make_forecast(work, 1))
    assert [(cohort.network, cohort.runs, cohort.seconds) for cohort in plan.cohorts] == [
        ("densenet121", 1, 100),
        ("alexnet", 2, 75),
    ]


def test_the_bounds_are_those_that_paper_gives() -> None:
    # a baseline of 100 s and 9 runs of 100 s after it, on 2 GPUs: 1,000 s of work, 900 s of it after t = 100
    bound = lower_bound(make_forecast([item("b", 100), *(item(f"r{n}", 100, "b") for n in range(9))], 2))
    assert bound.work_seconds == 500
    assert bound.chain_seconds == 200
    assert bound.hard_seconds == pytest.approx(550)
    # work at the efficiency of one worker, the chain at the speed of four; both at once can't be had
    long = lower_bound(make_forecast([item("long", 1000), item("too", 1000)], 4, most_workers=4))
    assert long.work_seconds == 500
    assert long.chain_seconds == pytest.approx(1000 / WIDE_SPEED)
    assert long.hard_seconds > 500


def test_runs_are_told_apart_and_chains_have_two_links() -> None:
    with pytest.raises(ValueError, match="a is planned twice"):
        make_forecast([item("a", 1), item("a", 1)], 1)
    with pytest.raises(ValueError, match="c waits for b, which itself waits"):
        make_forecast([item("a", 1), item("b", 1, "a"), item("c", 1, "b")], 1)


@pytest.mark.parametrize(
    ("resources", "shape", "wanted", "fitting"),
    [
        (Resources(gpus=8, cpus=8), LaneShape(workers=4, gpus_per_worker=1), 8, 2),
        (Resources(gpus=12, cpus=12, nodes=2), LaneShape(workers=4, gpus_per_worker=1), 12, 2),
        (Resources(gpus=2, cpus=8), LaneShape(gpus_per_worker=1 / 3), 2, 6),
        (Resources(cpus=7), LaneShape(cpus_per_worker=2), 7, 3),
    ],
)
def test_lanes_lie_within_nodes(resources: Resources, shape: LaneShape, wanted: float, fitting: int) -> None:
    assert cut_lanes(resources, [shape], [wanted], [100]) == [fitting]


def test_narrow_lanes_fill_what_wide_ones_leave() -> None:
    shapes = Resources(gpus=12, cpus=12, nodes=2).shapes(4)
    assert [shape.workers for shape in shapes] == [1, 2, 4]
    assert cut_lanes(Resources(gpus=12, cpus=12, nodes=2), shapes, [4, 0, 8], [100, 100, 100]) == [4, 0, 2]
    assert cut_lanes(Resources(gpus=1, cpus=1), shapes, [0.2, 0, 0.8], [1, 0, 1]) == [1, 0, 0]


def test_a_gpu_is_shared_where_that_is_faster_and_fits() -> None:
    resources = Resources(gpus=1, cpus=4, memory_bytes_per_gpu=10 * 2**30)
    rate = {"network": "densenet121", "image_size": 64, "batch_size": 64, "evaluated_per_second": 1.0}
    alone = Throughput(**rate, gpus_per_worker=1, images_per_second=1.0, memory_bytes=3 * 2**30)
    shared = Throughput(**rate, gpus_per_worker=0.5, images_per_second=0.8, memory_bytes=3 * 2**30)
    work = [item(f"run{number}", 100) for number in range(4)]

    def plan(rates: ThroughputTable, place: Resources) -> Plan:
        return make_plan(Forecast(work, rates, place, place.shapes(1, (1, 2))))

    sharing = plan(ThroughputTable(rates=(alone, shared)), resources)
    assert [lane.shape.runs_per_gpu for lane in sharing.lanes] == [2, 2]
    assert sharing.makespan_seconds == 250
    assert sharing.memory_bytes == 6 * 2**30
    small = resources.model_copy(update={"memory_bytes_per_gpu": 5 * 2**30})
    assert plan(ThroughputTable(rates=(alone, shared)), small).makespan_seconds == 400
    assert plan(ThroughputTable(rates=(alone,)), resources).makespan_seconds == 400
    tiny = resources.model_copy(update={"memory_bytes_per_gpu": 2**30})
    with pytest.raises(ThroughputError, match=r"needs 3\.0 GiB .* of 1\.0 GiB; lower training\.batch_size"):
        plan(ThroughputTable(rates=(alone,)), tiny)


def test_a_measured_rate_of_several_workers_is_preferred_to_the_model() -> None:
    kind = item("a", 1).load.kind
    two = LaneShape(workers=2, gpus_per_worker=1)
    modelled = table().find(kind, two)
    assert modelled is not None
    assert modelled.images_per_second == pytest.approx(1 / (SERIAL_SHARE + (1 - SERIAL_SHARE) / 2))
    measured = modelled.model_copy(update={"images_per_second": 1.3})
    assert table().with_rates((measured,)).find(kind, two) == measured
    assert table(batch_size=16).find(kind, two) is None, "another batch size"
    small_batch = item("a", 1).load.kind
    assert table().find(small_batch, LaneShape(workers=8, gpus_per_worker=1)) is None, "8 images each are too few"


def test_rates_come_back_from_their_file_and_mistakes_in_it_are_named(tmp_path: Path) -> None:
    file = tmp_path / "rates" / "a.json"
    write_throughput(file, table())
    assert read_throughput(file) == table()
    values = json.loads(file.read_text())
    values["rates"][0]["image_per_second"] = 3
    file.write_text(json.dumps(values))
    with pytest.raises(ThroughputError, match="did you mean 'images_per_second'"):
        read_throughput(file)
    file.write_text("{")
    with pytest.raises(ThroughputError, match="Invalid JSON"):
        read_throughput(file)
    with pytest.raises(ThroughputError, match="does not exist; give a file"):
        read_throughput(tmp_path / "none.json")


def test_damaged_rates_are_named_and_nothing_else_is_raised(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    write_throughput(file, table())

    @settings(max_examples=200)
    @given(damaged_json(file.read_bytes()))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        error = ""
        try:
            rates = read_throughput(file)
            rates.find(item("a", 1).load.kind, LaneShape(workers=2, gpus_per_worker=1))
        except ThroughputError as raised:
            error = str(raised)
        assert not error or str(file) in error

    check()


def test_a_kind_without_a_rate_is_named() -> None:
    resources = Resources(gpus=1, cpus=1)
    with pytest.raises(
        ThroughputError, match="no throughput for alexnet, 64 px, batch 64, float32 in a lane of 1 worker"
    ):
        Forecast([item("a", 1, network="alexnet")], table(), resources, resources.shapes())


def test_resources_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="gpus=3 can't be shared out evenly among nodes=2"):
        Resources(gpus=3, cpus=2, nodes=2)
    with pytest.raises(ValueError, match="NCCL rejects two ranks on one GPU"):
        LaneShape(workers=2, gpus_per_worker=0.5)


def test_the_file_of_a_plan_holds_its_lanes(tmp_path: Path) -> None:
    plan = make_plan(make_forecast([item("base", 10), item("again", 5, "base")], 1), lane_start_seconds=2)
    values = plan_as_json(plan, "here", datetime(2026, 1, 2, tzinfo=UTC))
    assert values["made"] == "2026-01-02T00:00:00.000+00:00"
    assert values["makespan_seconds"] == 17
    (lane,) = values["lanes"]
    assert lane["gpus_per_worker"] == 1
    assert lane["runs"] == [
        {"name": "base", "start": 2, "end": 12, "training_seconds": 10},
        {"name": "again", "start": 12, "end": 17, "training_seconds": 5},
    ]
    write_plan(tmp_path / "study", plan, "here")
    assert json.loads((tmp_path / "study" / "plan.json").read_text())["lanes"] == values["lanes"]


@pytest.mark.parametrize(("runs", "gpus"), [(2, 1), (300, 50)])
@pytest.mark.parametrize("ending", ["png", "svg", "html"])
def test_charts_hold_every_run(runs: int, gpus: int, ending: str, tmp_path: Path) -> None:
    plan = make_plan(make_forecast([item(f"run{number}", 100) for number in range(runs)], gpus))
    file = tmp_path / "charts" / f"plan.{ending}"
    save_chart(plan, file, "a < b")
    if ending == "png":
        assert file.read_bytes().startswith(b"\x89PNG")
        return
    text = file.read_text()
    assert text.count("<path") >= runs, "a path a bar"
    assert "lanes" in text
    if ending == "html":
        assert "<title>a &lt; b</title>" in text


def test_a_chart_of_another_ending_is_refused(tmp_path: Path) -> None:
    plan = make_plan(make_forecast([item("a", 1)], 1))
    with pytest.raises(UserError, match=r"plan\.pdf: it ends in \.pdf; .* \.png, \.svg or \.html"):
        save_chart(plan, tmp_path / "plan.pdf", "a")


def test_a_small_batch_is_spread_over_many_workers_only_where_these_were_asked_for() -> None:
    resources, wide = Resources(cpus=4), LaneShape(workers=4)
    rates = table(batch_size=16)
    load = WorkItem("run", Load(StepKind("densenet121", 64, 16, "float32"), 1, 100, 0, 0), None, "baseline")
    with pytest.raises(ThroughputError, match="no throughput"):
        Forecast([load], rates, resources, [wide])
    plan = make_plan(Forecast([load], rates, resources, [wide], are_requested=True), lanes=[wide])
    assert plan.makespan_seconds == pytest.approx(100 / WIDE_SPEED)
