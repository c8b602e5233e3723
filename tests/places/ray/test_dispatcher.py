"""What lanes and the command find in the mailbox between them, without a cluster."""

import asyncio
import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest

from clr_hpc.config.run import RunSpec
from clr_hpc.places.queue import (
    IN_USE_SECONDS,
    Assignment,
    Assignments,
    Finished,
    ListedRuns,
    PlannedRuns,
    Queue,
    Wait,
)
from clr_hpc.places.ray.dispatcher import (
    COMMAND_SECONDS,
    LANE_SECONDS,
    Dispatcher,
    DispatcherActor,
    DispatcherState,
    assign,
)
from clr_hpc.planning.queue import QueuedRun, StudyQueue
from clr_hpc.training.run import ExitStatus

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
SPECS = tuple(SPEC.model_copy(update={"seed": seed}) for seed in range(3))
FIRST, SECOND, THIRD = SPECS
NAMES = [spec.name for spec in SPECS]


class PausingRuns(Queue):
    """Runs that pause once after an epoch."""

    def __init__(self, runs: Sequence[RunSpec]) -> None:
        self._runs = ListedRuns(runs)
        self._paused: set[str] = set()

    def next(self, worker: int, busy: Collection[RunSpec], /) -> Assignment | Wait | Finished:
        found = self._runs.next(worker, busy)
        if isinstance(found, Assignment) and found.spec.name not in self._paused:
            return Assignment(found.spec, until_epochs=1.0)
        return found

    def ended(self, spec: RunSpec, outcome: ExitStatus, /) -> None:
        if outcome == "stopped":
            self._paused.add(spec.name)
        elif outcome != "in use":
            self._runs.ended(spec, outcome)


class Command:
    """A dispatcher and the command's side of it."""

    def __init__(self, queue: Queue, runs_folder: Path, cancelled_folder: Path | None = None) -> None:
        self.now = 100.0
        self.runs = Assignments(queue, runs_folder, cancelled_folder, clock=lambda: self.now)
        self.dispatcher = Dispatcher()
        self.ended: list[tuple[RunSpec, ExitStatus]] = []

    def poll(self, *alive_nodes: str) -> DispatcherState:
        """Read the state and post assignments, as ``clr_hpc.places.ray.train`` does."""
        state = self.dispatcher.state(frozenset(alive_nodes) if alive_nodes else None)
        answers = assign(self.runs, state)
        self.ended += answers.told
        self.dispatcher.assign(answers.assignments, answers.is_last)
        return state

    def next(self, lane: int) -> Assignment | Wait | Finished:
        """Have a lane request a run, and once more after a poll where it is to wait."""
        if self.dispatcher.next(lane) == "wait":
            self.poll()
        return self.dispatcher.next(lane)

    def given(self, lane: int) -> RunSpec:
        found = self.next(lane)
        assert isinstance(found, Assignment)
        return found.spec


def planned(names: list[str] = NAMES) -> PlannedRuns:
    return PlannedRuns(StudyQueue([[QueuedRun(name, 1.0) for name in names]]), SPECS)


@pytest.fixture
def planned_command(tmp_path: Path) -> Command:
    for name in NAMES:
        (tmp_path / name).mkdir()
    return Command(planned(), tmp_path)


@pytest.fixture
def pausing_command(tmp_path: Path) -> Command:
    return Command(PausingRuns(SPECS), tmp_path)


def test_lanes_get_every_run_once_and_are_then_told_that_it_is_over(planned_command: Command) -> None:
    given = []
    for lane in (0, 1, 0):
        given.append(planned_command.given(lane))
        planned_command.dispatcher.run_ended(lane, "done")
    assert {spec.name for spec in given} == set(NAMES)
    assert planned_command.next(0) == planned_command.next(7) == "finished"
    assert planned_command.ended == [(spec, "done") for spec in given], "each reported once"


def test_a_lane_that_restarts_goes_on_with_its_run(planned_command: Command) -> None:
    planned_command.dispatcher.lane_started(0, ("a",))
    before = planned_command.given(0)
    planned_command.dispatcher.lane_started(0, ("b",))
    assert planned_command.given(0) is before
    assert planned_command.ended == []
    assert (planned_command.dispatcher.starts(0), planned_command.dispatcher.starts(1)) == (2, 0)


@pytest.mark.parametrize("queue", [planned(), PausingRuns(SPECS)])
def test_a_run_that_kills_its_lane_again_and_again_fails(queue: Queue, tmp_path: Path) -> None:
    command = Command(queue, tmp_path)
    guilty = command.given(0)
    while command.ended == []:
        assert command.given(0) is guilty
        command.dispatcher.lane_started(0, ("a",))
        command.poll()
    assert command.ended == [(guilty, "failed")]
    assert command.given(0) is not guilty


def test_the_run_of_a_lost_node_goes_to_another_lane(planned_command: Command) -> None:
    dispatcher = planned_command.dispatcher
    dispatcher.lane_started(0, ("a", "b"))
    dispatcher.lane_started(1, ("c",))
    lost, kept = planned_command.given(0), planned_command.given(1)
    assert planned_command.poll("a", "c").busy == {1: kept}
    assert dispatcher.must_stop("b"), "its worker may not have noticed"
    assert not dispatcher.must_stop("c")
    dispatcher.run_ended(1, "done")
    assert planned_command.given(1) is lost
    # until that worker has let go of the run it is in use, and is assigned again
    dispatcher.run_ended(1, "in use")
    assert planned_command.given(1) is not lost
    dispatcher.run_ended(1, "done")
    planned_command.now += IN_USE_SECONDS
    assert planned_command.given(1) is lost


def test_a_run_that_another_process_trains_is_waited_for(planned_command: Command) -> None:
    theirs = planned_command.given(0)
    planned_command.dispatcher.run_ended(0, "in use")
    assert planned_command.given(0) is not theirs
    assert planned_command.ended == [(theirs, "in use")]
    planned_command.now += IN_USE_SECONDS
    assert planned_command.given(1) is theirs


def test_a_run_that_stops_goes_to_another_lane(planned_command: Command) -> None:
    stopped = planned_command.given(0)
    planned_command.dispatcher.run_ended(0, "stopped")
    assert planned_command.given(1) is stopped
    assert planned_command.ended == []


def test_after_a_stop_nothing_is_assigned_and_what_stopped_has_not_ended(planned_command: Command) -> None:
    planned_command.given(0)
    planned_command.dispatcher.stop()
    assert planned_command.dispatcher.must_stop("anywhere")
    planned_command.dispatcher.run_ended(0, "stopped")
    assert planned_command.next(0) == "finished"
    assert planned_command.poll() == DispatcherState((), {}, frozenset(), ())


def test_a_lane_that_died_is_not_waited_for_after_a_stop(planned_command: Command) -> None:
    planned_command.dispatcher.lane_started(0, ("a",))
    planned_command.given(0)
    planned_command.dispatcher.stop()
    planned_command.dispatcher.lane_started(0, ("a",))
    assert planned_command.next(0) == "finished"
    assert planned_command.poll().busy == {}


def test_after_a_stop_a_run_that_was_assigned_and_not_begun_is_not_waited_for(planned_command: Command) -> None:
    assert planned_command.dispatcher.next(1) == "wait"
    planned_command.poll()
    planned_command.dispatcher.stop()
    assert planned_command.dispatcher.next(1) == "finished"
    assert planned_command.poll().busy == {}


def test_after_a_stop_a_queue_is_asked_for_nothing_more(planned_command: Command) -> None:
    planned_command.dispatcher.next(0)
    planned_command.dispatcher.stop()
    assert planned_command.poll().requesting == frozenset()


def test_a_cancelled_run_is_not_assigned_and_not_again_when_it_stops(tmp_path: Path) -> None:
    command = Command(planned(), tmp_path, cancelled_folder=tmp_path)
    command.given(0)
    for name in NAMES[:2]:
        (tmp_path / name).touch()
    command.dispatcher.run_ended(0, "stopped")
    assert command.given(0) == THIRD
    command.dispatcher.run_ended(0, "done")
    assert command.next(0) == "finished"
    assert command.ended == [(FIRST, "stopped"), (THIRD, "done")]


def test_each_lane_is_assigned_a_run_of_its_own_and_only_when_it_asks(pausing_command: Command) -> None:
    pausing_command.poll()
    assert pausing_command.poll().busy == {}, "nobody has asked"
    assert pausing_command.dispatcher.next(0) == pausing_command.dispatcher.next(1) == "wait"
    assert pausing_command.poll().requesting == {0, 1}
    assert pausing_command.dispatcher.next(0) == Assignment(FIRST, 1.0)
    assert pausing_command.dispatcher.next(1) == Assignment(SECOND, 1.0)
    assert pausing_command.poll().busy == {0: FIRST, 1: SECOND}


def test_a_run_that_pauses_has_not_stopped_all_and_resumes_later(pausing_command: Command) -> None:
    pausing_command.given(0)
    pausing_command.dispatcher.run_ended(0, "stopped")
    assert pausing_command.next(0) == Assignment(FIRST, math.inf)
    assert pausing_command.ended == [(FIRST, "stopped")]


def test_lanes_that_wait_are_told_when_every_run_has_ended(tmp_path: Path) -> None:
    command = Command(PausingRuns(SPECS[:1]), tmp_path)
    assert command.given(0) == FIRST
    assert command.next(1) == "wait", "the run of lane 0 may come back"
    command.dispatcher.run_ended(0, "done")
    command.poll()
    assert command.dispatcher.next(0) == command.dispatcher.next(1) == "finished"


def test_a_paused_run_and_that_of_a_lost_node_are_assigned_again(pausing_command: Command) -> None:
    dispatcher = pausing_command.dispatcher
    dispatcher.lane_started(0, ("a",))
    dispatcher.lane_started(1, ("b",))
    lost, paused = pausing_command.given(0), pausing_command.given(1)
    pausing_command.poll("b")
    dispatcher.run_ended(1, "stopped")
    assert pausing_command.given(1) == lost
    assert pausing_command.ended == [(paused, "stopped")]
    # until the other node's worker has let go of it
    dispatcher.run_ended(1, "in use")
    assert pausing_command.given(1) == paused
    pausing_command.now += IN_USE_SECONDS
    assert pausing_command.given(2) == lost


def test_a_lane_that_is_lost_before_its_assignment_comes_gets_none(pausing_command: Command) -> None:
    dispatcher = pausing_command.dispatcher
    dispatcher.lane_started(0, ("a",))
    assert dispatcher.next(0) == "wait"
    state = dispatcher.state()
    dispatcher.lane_lost(0)
    answers = assign(pausing_command.runs, state)
    assert answers.assignments[0].spec == FIRST
    dispatcher.assign(answers.assignments, answers.is_last)
    assert pausing_command.given(1) == FIRST


def test_the_runs_planned_for_a_lane_that_never_came_go_to_the_others(tmp_path: Path) -> None:
    queue = StudyQueue([[QueuedRun(NAMES[0], 100.0)], [QueuedRun(NAMES[1], 1.0, after=NAMES[0])]], [4.0, 1.0])
    command = Command(PlannedRuns(queue, SPECS), tmp_path)
    assert command.next(1) == "wait"
    command.dispatcher.lane_lost(0)
    assert command.given(1) == FIRST


def test_requests_wait_in_the_actor_for_each_other(tmp_path: Path) -> None:
    actor = DispatcherActor()
    runs = Assignments(planned(), tmp_path)

    async def command() -> None:
        state = await actor.wait_for_state(frozenset())  # the first one, at once
        while not state.requesting:
            state = await actor.wait_for_state(frozenset())
        answers = assign(runs, state)
        actor.assign(answers.assignments, answers.is_last)

    async def both() -> Assignment | Wait | Finished:
        answer, _ = await asyncio.gather(actor.wait_for_next(0), command())
        return answer

    began = time.monotonic()
    assert asyncio.run(both()) == Assignment(FIRST)
    assert time.monotonic() - began < COMMAND_SECONDS / 2


def test_the_request_of_a_lane_that_is_lost_meanwhile_is_forgotten() -> None:
    actor = DispatcherActor()

    async def lose() -> None:
        await asyncio.sleep(0.1)
        actor.lane_lost(0)

    async def both() -> Assignment | Wait | Finished:
        answer, _ = await asyncio.gather(actor.wait_for_next(0), lose())
        return answer

    began = time.monotonic()
    assert asyncio.run(both()) == "wait"
    assert time.monotonic() - began < LANE_SECONDS
    assert actor.state().requesting == frozenset()
