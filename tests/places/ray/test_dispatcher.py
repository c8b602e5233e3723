"""What lanes are told, without a cluster."""

import json
from pathlib import Path

import pytest

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import GivenRun
from clr_hpc.places.ray.dispatcher import DEATHS_WITHOUT_PROGRESS, Dispatcher
from clr_hpc.places.ray.lane_queue import PlannedRuns
from clr_hpc.planning.queue import QueuedRun, StudyQueue
from clr_hpc.store.run_folder import newest_checkpoint

SPEC = RunSpec.model_validate(
    {
        "pack_checksum": "0" * 64,
        "task": {"kind": "binary", "pathology": "effusion"},
        "architecture": "mobilenet_v1",
        "optimizer": {"name": "sgd"},
        "stage": "scratch",
        "policy": {"name": "constant", "lr_max": 0.1},
        "training": {"epochs": 1, "image_size": 32},
    }
)
SPECS = {spec.name: spec for spec in (SPEC.model_copy(update={"seed": seed}) for seed in range(3))}
NAMES = list(SPECS)


@pytest.fixture
def dispatcher(tmp_path: Path) -> Dispatcher:
    for name in NAMES:
        (tmp_path / name).mkdir()
    return Dispatcher(PlannedRuns(StudyQueue([[QueuedRun(name, 1.0) for name in NAMES]]), SPECS), tmp_path)


def given_to(dispatcher: Dispatcher, lane: int) -> RunSpec:
    given = dispatcher.next_run(lane)
    assert isinstance(given, GivenRun)
    return given.spec


def test_lanes_get_every_run_once_and_are_then_told_that_it_is_over(dispatcher: Dispatcher) -> None:
    given = []
    for lane in (0, 1, 0):
        given.append(given_to(dispatcher, lane).name)
        dispatcher.run_ended(lane, "done")
    assert sorted(given) == sorted(NAMES)
    assert dispatcher.next_run(0) == dispatcher.next_run(7) == "finished"
    news = dispatcher.news()
    assert news.is_finished
    assert [(spec.name, outcome) for spec, outcome in news.ended] == [(name, "done") for name in given]
    assert dispatcher.news().ended == (), "told once"


def test_a_lane_that_restarts_goes_on_with_its_run(dispatcher: Dispatcher) -> None:
    dispatcher.lane_started(0, ("a",))
    before = given_to(dispatcher, 0)
    dispatcher.lane_started(0, ("b",))
    assert given_to(dispatcher, 0) is before
    assert (dispatcher.starts(0), dispatcher.starts(1)) == (2, 0)


def test_a_run_that_kills_its_lane_again_and_again_fails(dispatcher: Dispatcher, tmp_path: Path) -> None:
    dispatcher.lane_started(0, ("a",))
    guilty = given_to(dispatcher, 0)
    for _ in range(DEATHS_WITHOUT_PROGRESS):
        assert dispatcher.news().ended == ()
        assert given_to(dispatcher, 0) is guilty
        dispatcher.lane_started(0, ("a",))
    assert dispatcher.news().ended == ((guilty, "failed"),)
    result = json.loads((tmp_path / guilty.name / "result.json").read_text())
    assert result["status"] == "failed"
    assert "died 3 times without getting further than 0 samples" in result["reason"]
    assert given_to(dispatcher, 0) is not guilty


def test_a_run_that_gets_further_each_time_is_never_given_up(dispatcher: Dispatcher, tmp_path: Path) -> None:
    dispatcher.lane_started(0, ("a",))
    unlucky = given_to(dispatcher, 0)
    checkpoints = tmp_path / unlucky.name / "checkpoints"
    checkpoints.mkdir()
    for samples in range(100, 100 + 3 * DEATHS_WITHOUT_PROGRESS):
        (checkpoints / f"{samples:012d}.safetensors").touch()
        assert newest_checkpoint(checkpoints.parent) == samples
        dispatcher.lane_started(0, ("a",))
        assert given_to(dispatcher, 0) is unlucky


def test_the_run_of_a_node_that_is_gone_goes_to_another_lane(dispatcher: Dispatcher) -> None:
    dispatcher.lane_started(0, ("a", "b"))
    dispatcher.lane_started(1, ("c",))
    lost, kept = given_to(dispatcher, 0), given_to(dispatcher, 1)
    news = dispatcher.news(alive_nodes=frozenset({"a", "c"}))
    assert news.under_way == {1: kept.name}
    assert dispatcher.must_stop("b"), "its worker may not have noticed"
    assert not dispatcher.must_stop("c")
    dispatcher.run_ended(1, "done")
    assert given_to(dispatcher, 1) is lost
    # until that worker has let go of the run it is in use, and is handed out again
    dispatcher.run_ended(1, "in use")
    assert [spec for spec, _ in dispatcher.news().ended] == [kept]
    assert given_to(dispatcher, 1) is lost


def test_a_run_that_somebody_else_trains_is_left_to_them(dispatcher: Dispatcher) -> None:
    theirs = given_to(dispatcher, 0)
    dispatcher.run_ended(0, "in use")
    assert dispatcher.news().ended == ((theirs, "in use"),)
    assert given_to(dispatcher, 0) is not theirs


def test_after_a_stop_nothing_is_handed_out_and_what_stopped_has_not_ended(dispatcher: Dispatcher) -> None:
    dispatcher.next_run(0)
    dispatcher.stop()
    assert dispatcher.must_stop("anywhere")
    dispatcher.run_ended(0, "stopped")
    assert dispatcher.next_run(0) == "finished"
    news = dispatcher.news()
    assert (news.ended, news.under_way, news.is_finished) == ((), {}, False)


def test_a_lane_that_died_is_not_waited_for_after_a_stop(dispatcher: Dispatcher) -> None:
    dispatcher.lane_started(0, ("a",))
    given_to(dispatcher, 0)
    dispatcher.stop()
    dispatcher.lane_started(0, ("a",))
    assert dispatcher.next_run(0) == "finished"
    assert dispatcher.news().under_way == {}


def test_a_cancelled_run_is_not_handed_out_and_not_again_when_it_stops(tmp_path: Path) -> None:
    queue = StudyQueue([[QueuedRun(name, 1.0) for name in NAMES]])
    dispatcher = Dispatcher(PlannedRuns(queue, SPECS), tmp_path, cancelled_folder=tmp_path)
    given_to(dispatcher, 0)
    for name in NAMES[:2]:
        (tmp_path / name).touch()
    dispatcher.run_ended(0, "stopped")
    assert given_to(dispatcher, 0) == SPECS[NAMES[2]]
    dispatcher.run_ended(0, "done")
    assert dispatcher.next_run(0) == "finished"
    assert [outcome for _, outcome in dispatcher.news().ended] == ["stopped", "done"]


def test_a_run_that_another_holds_is_tried_again_for_a_while(tmp_path: Path) -> None:
    def start(seconds: float) -> Dispatcher:
        queue = StudyQueue([[QueuedRun(NAMES[0], 1.0)]])
        return Dispatcher(PlannedRuns(queue, SPECS), tmp_path, in_use_seconds=seconds)

    run = GivenRun(SPECS[NAMES[0]])
    for seconds, following in ((0.0, "finished"), (1e6, run)):
        dispatcher = start(seconds)
        assert dispatcher.next_run(0) == run
        dispatcher.run_ended(0, "in use")
        assert dispatcher.next_run(0) == following
