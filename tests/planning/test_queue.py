import pytest

from clr_hpc.planning.queue import PATIENCE, QueuedRun, StudyQueue


def run(name: str, seconds: float = 10, after: str | None = None) -> QueuedRun:
    return QueuedRun(name, seconds, after)


def taken(queue: StudyQueue, lane: int) -> str | None:
    found = queue.take(lane)
    return None if found is None else found.name


def test_a_lane_takes_its_own_runs_in_their_order() -> None:
    queue = StudyQueue([[run("a"), run("b")]])
    assert taken(queue, 0) == "a"
    assert taken(queue, 0) == "a", "asked again, it still has the same"
    assert queue.under_way == {0: "a"}
    queue.ended(0)
    assert taken(queue, 0) == "b"
    queue.ended(0)
    assert queue.is_finished
    assert taken(queue, 0) is None


def test_a_run_waits_for_its_baseline_and_then_is_told() -> None:
    queue = StudyQueue([[run("base"), run("again", after="base")], [run("other")]])
    assert taken(queue, 0) == "base"
    assert taken(queue, 1) == "other"
    queue.ended(1)
    assert taken(queue, 1) is None
    assert list(queue.ended(0)) == ["again"]
    assert taken(queue, 1) == "again", "its own lane hasn't asked yet, and the idle one is as good"


def test_a_baseline_that_is_not_in_the_queue_has_ended_before() -> None:
    assert taken(StudyQueue([[run("again", after="done long ago")]]), 0) == "again"


def test_an_idle_lane_takes_from_the_longest_remainder() -> None:
    queue = StudyQueue([[run("a"), run("b", 5)], [run("c"), run("d", 50)], [run("e", 1)]])
    assert [taken(queue, lane) for lane in range(3)] == ["a", "c", "e"]
    queue.ended(2)
    assert taken(queue, 2) == "d"


def test_a_lane_that_the_plan_did_not_know_helps() -> None:
    queue = StudyQueue([[run("a"), run("b")]])
    assert taken(queue, 0) == "a"
    assert taken(queue, 7) == "b"
    queue.ended(7)
    queue.ended(0)
    assert queue.is_finished


def test_the_run_of_a_lost_lane_is_given_out_again_once() -> None:
    queue = StudyQueue([[run("a")], [run("b")]])
    assert [taken(queue, 0), taken(queue, 1)] == ["a", "b"]
    assert queue.lost(0) == "a"
    assert queue.lost(0) is None
    queue.ended(1)
    assert taken(queue, 1) == "a"
    assert taken(queue, 0) is None, "it came back and has nothing left"
    queue.ended(1)
    assert queue.is_finished


def test_a_slow_lane_leaves_a_fast_one_its_last_runs_and_helps_with_many() -> None:
    fast = [run("a"), run("b"), run("c"), run("d"), run("e"), run("f")]
    queue = StudyQueue([fast, [run("slow")]], speeds=[4, 1])
    assert [taken(queue, 0), taken(queue, 1)] == ["a", "slow"]
    queue.ended(1)
    assert taken(queue, 1) == "b", "40 s in the slow lane; 50 s are left to the fast one"
    queue.ended(1)
    assert taken(queue, 1) == "c"
    queue.ended(1)
    assert taken(queue, 1) is None, "40 s again, and 30 s are left"


def test_a_slow_lane_leaves_a_fast_one_what_others_wait_for() -> None:
    many = [run(f"more{number}") for number in range(9)]
    queue = StudyQueue([[run("a"), run("base"), *many], [run("slow")], [run("next", after="base")]], [4, 1, 4])
    assert [taken(queue, 0), taken(queue, 1)] == ["a", "slow"]
    queue.ended(1)
    assert taken(queue, 1) is None
    queue.ended(0)
    assert taken(queue, 0) == "base"
    assert taken(queue, 1) == "more0"


def test_a_lane_that_waits_for_its_own_baseline_leaves_others_their_runs() -> None:
    queue = StudyQueue([[run("base"), run("x")], [run("again", after="base")]])
    assert taken(queue, 0) == "base"
    assert taken(queue, 1) is None
    queue.lost(0)
    assert taken(queue, 1) == "base", "now nobody else does it"


def test_runs_of_lanes_that_never_come_are_done_by_those_that_are_there() -> None:
    queue = StudyQueue([[run("base", 100)], [run("again", after="base")]], speeds=[4, 1])
    answers = [taken(queue, 1) for _ in range(PATIENCE + 1)]
    assert answers == [None] * PATIENCE + ["base"]
    queue = StudyQueue([[run("base", 100)], [run("again", after="base")]], speeds=[4, 1])
    queue.lost(0)
    assert taken(queue, 1) == "base"


def test_mistakes_in_the_plan_are_refused() -> None:
    with pytest.raises(ValueError, match="a is planned twice"):
        StudyQueue([[run("a")], [run("a")]])
    with pytest.raises(ValueError, match="1 speeds for 2 lanes"):
        StudyQueue([[run("a")], [run("b")]], speeds=[1.0])
