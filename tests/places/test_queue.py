"""What becomes of a run whose worker stopped or died, or which another process trains: the same for all queues."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from clr_hpc.config.expand import expand
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.places.queue import (
    DEATHS_WITHOUT_PROGRESS,
    IN_USE_SECONDS,
    Assignment,
    Assignments,
    ListedRuns,
    PlannedRuns,
    Queue,
    leave_failure,
)
from clr_hpc.planning.queue import QueuedRun, StudyQueue
from clr_hpc.store.run_folder import RunFolder

STUDY = yaml.safe_load("""
name: trial
pack: packs/none
pathologies: [edema]
optimizers: [sgd]
rates: {sgd: {lr_min: 0.001, lr_max: 0.01}}
stages:
  baseline: {policies: [cosine], epochs: 1}
  retrain: {policies: [{name: triangular, half_cycle_epochs: 0.5}], epochs: 1}
seeds: [0, 1]
training: {epochs: 1, batch_size: 16, image_size: 32}
""")
RUNS = expand(Study.model_validate(STUDY), "c0ffee" + "0" * 58)
BASE, OTHER = (spec for spec in RUNS if spec.stage == "baseline")
SEQUELS = [spec for spec in RUNS if spec.start is not None and spec.start.baseline.run_id == BASE.run_id]
OTHERS = [spec for spec in RUNS if spec is not BASE and spec not in SEQUELS]


def planned() -> PlannedRuns:
    after = {spec.name: spec.start.baseline.name if spec.start else None for spec in RUNS}
    return PlannedRuns(StudyQueue([[QueuedRun(spec.name, 1.0, after[spec.name]) for spec in RUNS], []]), RUNS)


KINDS = pytest.mark.parametrize("kind", [lambda: ListedRuns(RUNS), planned], ids=["listed", "planned"])


class Bench:
    """Assignments of a queue, with a clock that is set by hand."""

    def __init__(self, queue: Queue, folder: Path, patience: float = 1e9) -> None:
        self.now, self.folder = 100.0, folder
        cancelled = folder / "cancelled"
        cancelled.mkdir()
        self.runs = Assignments(queue, folder, cancelled, patience, lambda: self.now)

    def take(self, *busy: RunSpec) -> RunSpec:
        answer = self.runs.next(0, busy)
        assert isinstance(answer, Assignment)
        return answer.spec

    def rest(self) -> list[RunSpec]:
        """Train all that is given and return it."""
        trained = []
        while isinstance(answer := self.runs.next(0, ()), Assignment):
            trained.append(answer.spec)
            self.runs.ended(answer.spec, "done")
        assert answer == "finished"
        return trained


@KINDS
def test_a_run_that_stops_is_assigned_again(kind: Callable[[], Queue], tmp_path: Path) -> None:
    bench = Bench(kind(), tmp_path)
    assert bench.take() == BASE
    assert not bench.runs.ended(BASE, "stopped")
    assert bench.rest()[0] == BASE


@KINDS
def test_a_cancelled_run_has_ended_and_nothing_starts_from_it(kind: Callable[[], Queue], tmp_path: Path) -> None:
    bench = Bench(kind(), tmp_path)
    bench.take()
    (tmp_path / "cancelled" / BASE.name).touch()
    assert bench.runs.ended(BASE, "stopped")
    assert bench.rest() == OTHERS


@KINDS
def test_a_run_in_use_is_waited_for_with_what_starts_from_it(kind: Callable[[], Queue], tmp_path: Path) -> None:
    bench = Bench(kind(), tmp_path)
    assert bench.take() == BASE
    assert bench.runs.ended(BASE, "in use"), "told once"
    for spec in OTHERS:
        assert bench.take() == spec
        bench.runs.ended(spec, "done")
    assert bench.runs.next(0, ()) == "wait"
    bench.now += IN_USE_SECONDS
    assert bench.take() == BASE
    assert not bench.runs.ended(BASE, "in use")
    assert bench.runs.next(0, ()) == "wait"
    bench.now += IN_USE_SECONDS
    assert bench.rest() == [BASE, *SEQUELS]


@KINDS
def test_a_run_that_stays_in_use_is_left_to_its_process(kind: Callable[[], Queue], tmp_path: Path) -> None:
    bench = Bench(kind(), tmp_path, patience=IN_USE_SECONDS)
    bench.take()
    bench.runs.ended(BASE, "in use")
    bench.now += IN_USE_SECONDS
    assert bench.take() == BASE
    bench.runs.ended(BASE, "in use")
    assert bench.rest() == OTHERS
    assert list(tmp_path.iterdir()) == [tmp_path / "cancelled"], "no result for what was not trained"


@KINDS
def test_a_run_under_which_processes_die_again_and_again_fails(kind: Callable[[], Queue], tmp_path: Path) -> None:
    bench = Bench(kind(), tmp_path)
    for death in range(1, DEATHS_WITHOUT_PROGRESS):
        assert bench.take() == BASE
        assert bench.runs.died(BASE, "process 17 was killed by SIGKILL") is None
        assert bench.runs.suspects == ([BASE] if death == DEATHS_WITHOUT_PROGRESS - 1 else [])
    assert bench.take() == BASE
    assert bench.runs.died(BASE, "process 17 was killed by SIGKILL") == "failed"
    assert bench.runs.suspects == []
    reason = json.loads((tmp_path / BASE.name / "result.json").read_text())["reason"]
    assert "died 3 times without getting further than 0 samples; the last time process 17 was killed by" in reason
    assert "memory" in reason
    assert set(bench.rest()) == {*SEQUELS, *OTHERS}, "those that start from it say so for themselves"


def test_one_that_gets_further_each_time_is_never_given_up(tmp_path: Path) -> None:
    bench = Bench(planned(), tmp_path)
    checkpoints = tmp_path / BASE.name / "checkpoints"
    checkpoints.mkdir(parents=True)
    for samples in range(3 * DEATHS_WITHOUT_PROGRESS):
        (checkpoints / f"{samples:012d}.safetensors").touch()
        assert bench.runs.died(bench.take(), "it died") is None
        assert bench.runs.suspects == []


def test_a_failure_is_not_written_over_the_run_of_another_process(tmp_path: Path) -> None:
    with RunFolder(tmp_path / BASE.name).open(BASE, {}, "elsewhere"):
        assert leave_failure(tmp_path / BASE.name, ValueError("mine")) == "in use"
    assert not (tmp_path / BASE.name / "result.json").exists()


def test_a_failure_that_the_disk_does_not_take_is_one_all_the_same(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "runs").touch()
    assert leave_failure(tmp_path / "runs" / BASE.name, ValueError("mine")) == "failed"
    assert "mine" in caplog.text
