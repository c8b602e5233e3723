"""Lanes that are handed runs from a queue elsewhere, through the dispatcher and without a cluster."""

import json
import math
from collections.abc import Collection
from pathlib import Path

import pytest

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import GivenRun, ListedRuns
from clr_hpc.places.ray.dispatcher import DEATHS_WITHOUT_PROGRESS, Dispatcher
from clr_hpc.places.ray.lane_queue import HandedRuns
from clr_hpc.places.ray.run_supply import RunSupply
from clr_hpc.training.run import ExitStatus

SPEC = RunSpec.model_validate(
    {
        "pack_checksum": "0" * 64,
        "task": {"kind": "binary", "pathology": "effusion"},
        "architecture": "mobilenet_v1",
        "optimizer": {"name": "sgd"},
        "stage": "scratch",
        "policy": {"name": "constant", "lr_max": 0.1},
        "training": {"epochs": 4, "image_size": 32},
    }
)
SPECS = tuple(SPEC.model_copy(update={"seed": seed}) for seed in range(3))
FIRST, SECOND, THIRD = SPECS


class PausingRuns(ListedRuns):
    """Runs that pause once after an epoch, and what was heard of them."""

    def __init__(self, runs: tuple[RunSpec, ...]) -> None:
        super().__init__(runs)
        self.heard: list[tuple[int, ExitStatus]] = []
        self._paused: set[str] = set()

    def until_epochs(self, spec: RunSpec) -> float:
        return math.inf if spec.name in self._paused else 1.0

    def ended(self, spec: RunSpec, outcome: ExitStatus) -> None:
        self.heard.append((spec.seed, outcome))
        if outcome == "stopped":
            self._paused.add(spec.name)
        elif outcome != "in use":
            super().ended(spec, outcome)


class Desk:
    """A dispatcher, and the command's side of it as ``clr_hpc.places.ray.place`` has it."""

    def __init__(self, runs_folder: Path, runs: tuple[RunSpec, ...] = SPECS) -> None:
        self.queue = PausingRuns(runs)
        self.supply = RunSupply(self.queue)
        self.dispatcher = Dispatcher(HandedRuns(), runs_folder)

    def poll(self, alive_nodes: Collection[str] | None = None) -> bool:
        """Hear the news and hand out; return whether all is finished."""
        news = self.dispatcher.news(None if alive_nodes is None else frozenset(alive_nodes))
        self.supply.ended(news.ended)
        handed = self.supply.for_lanes(news)
        self.dispatcher.hand_out(handed.runs, handed.is_last)
        return news.is_finished

    def given(self, lane: int) -> GivenRun:
        """Have a lane ask, and again after a poll where it is to wait."""
        if self.dispatcher.next_run(lane) == "wait":
            self.poll()
        given = self.dispatcher.next_run(lane)
        assert isinstance(given, GivenRun)
        return given


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_each_lane_is_handed_a_run_of_its_own_and_only_when_it_asks(desk: Desk) -> None:
    desk.poll()
    assert desk.dispatcher.news().under_way == {}, "nobody has asked"
    assert desk.dispatcher.next_run(0) == desk.dispatcher.next_run(1) == "wait"
    desk.poll()
    assert [desk.given(0), desk.given(1)] == [GivenRun(FIRST, 1.0), GivenRun(SECOND, 1.0)]
    assert desk.dispatcher.news().under_way == {0: FIRST.name, 1: SECOND.name}


def test_a_run_that_pauses_has_not_stopped_all_and_goes_on_later(desk: Desk) -> None:
    desk.given(0)
    desk.dispatcher.run_ended(0, "stopped")
    assert desk.given(0) == GivenRun(FIRST, math.inf)
    assert desk.queue.heard == [(0, "stopped")]


def test_when_every_run_has_ended_all_lanes_are_told_also_those_that_wait(tmp_path: Path) -> None:
    desk = Desk(tmp_path, SPECS[:1])
    assert desk.given(0).spec == FIRST
    assert desk.dispatcher.next_run(1) == "wait"
    assert not desk.poll()
    assert desk.dispatcher.next_run(1) == "wait", "the run of lane 0 may come back"
    desk.dispatcher.run_ended(0, "done")
    desk.poll()
    assert desk.dispatcher.next_run(0) == desk.dispatcher.next_run(1) == "finished"
    assert desk.poll()


def test_a_lane_that_restarts_goes_on_with_its_run_and_one_that_dies_always_fails_it(
    desk: Desk, tmp_path: Path
) -> None:
    desk.dispatcher.lane_started(0, ("a",))
    guilty = desk.given(0)
    for _ in range(DEATHS_WITHOUT_PROGRESS):
        assert desk.given(0) is guilty
        desk.dispatcher.lane_started(0, ("a",))
    assert desk.given(0).spec == SECOND
    assert desk.queue.heard == [(0, "failed")]
    assert json.loads((tmp_path / guilty.spec.name / "result.json").read_text())["status"] == "failed"


def test_the_run_of_a_node_that_is_gone_is_handed_to_another_lane(desk: Desk) -> None:
    desk.dispatcher.lane_started(0, ("a",))
    desk.dispatcher.lane_started(1, ("b",))
    lost, kept = desk.given(0), desk.given(1)
    desk.poll(alive_nodes={"b"})
    desk.dispatcher.run_ended(1, "stopped")
    assert desk.given(1) == lost
    assert desk.queue.heard == [(1, "stopped")]
    # until the other node's worker has let go of it
    desk.dispatcher.run_ended(1, "in use")
    assert desk.given(1) == lost
    assert desk.given(2).spec == kept.spec


def test_a_lane_that_went_while_it_was_answered_gets_nothing(desk: Desk) -> None:
    desk.dispatcher.lane_started(0, ("a",))
    assert desk.dispatcher.next_run(0) == "wait"
    news = desk.dispatcher.news()
    desk.dispatcher.lane_gone(0)
    handed = desk.supply.for_lanes(news)
    assert handed.runs[0].spec == FIRST
    desk.dispatcher.hand_out(handed.runs, handed.is_last)
    assert desk.given(1).spec == FIRST


def test_a_run_that_another_command_trains_is_left_to_the_queue_to_judge(desk: Desk) -> None:
    desk.given(0)
    desk.dispatcher.run_ended(0, "in use")
    desk.poll()
    assert desk.queue.heard == [(0, "in use")]


def test_after_a_stop_what_was_handed_and_not_taken_is_not_waited_for(desk: Desk) -> None:
    desk.given(0)
    assert desk.dispatcher.next_run(1) == "wait"
    desk.poll()
    desk.dispatcher.stop()
    assert desk.dispatcher.next_run(1) == "finished"
    desk.dispatcher.run_ended(0, "stopped")
    news = desk.dispatcher.news()
    assert (news.ended, news.under_way, news.is_finished) == ((), {}, False)
