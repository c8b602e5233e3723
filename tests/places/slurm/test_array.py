"""How an array task begins on its node, what it rejects, and which run it takes next."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from clr_hpc.config.run import RunSpec
from clr_hpc.places.queue import Assignment
from clr_hpc.places.slurm.array import SharedRuns
from clr_hpc.places.slurm.job import StartedJob
from clr_hpc.places.slurm.ledger import JobRecord, Ledger, Submission, abandoned, new_token
from clr_hpc.places.slurm.submit import begun_with_other_code
from clr_hpc.store.atomic import write_json
from clr_hpc.store.layout import LEASE
from clr_hpc.store.lease import LeaseHolder
from clr_hpc.store.provenance import source_sha256
from clr_hpc.training.run import RunSettings

StudyMaker = Callable[..., Any]
START = """
import sys
from clr_hpc.places.slurm.array import ArrayTask
print(ArrayTask(sys.argv[1], sys.argv[2], 0)())
"""


@dataclass
class Submitted:
    study: Any
    ledger: Ledger
    submission: Submission

    def start(self) -> subprocess.CompletedProcess[str]:
        """Start the array task as submitit does, outside SLURM."""
        words = [sys.executable, "-c", START, str(self.ledger.study_folder), self.submission.token]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    @property
    def record(self) -> JobRecord:
        return self.ledger.record(self.submission.token, 0)


@pytest.fixture
def submitted(invent_study: StudyMaker) -> Callable[..., Submitted]:
    def make(**changes: Any) -> Submitted:
        study = invent_study()
        ledger = Ledger(study.folder.path.absolute())
        ledger.prepare()
        token, name = new_token("invented")
        submission = Submission(
            *(token, name, "2026-01-01T00:00:00+00:00", "submitted", ((study.runs[0].name,),), {}, None),
            *(source_sha256(), "1" * 64, str(study.file.parent / "pack"), RunSettings(60.0), False, 1, 1, 0),
        )
        submission = replace(submission, **changes)
        ledger.write(submission)
        return Submitted(study, ledger, submission)

    return make


def test_other_code_is_refused(submitted: Callable[..., Submitted]) -> None:
    task = submitted(source_sha256="f" * 64)
    done = task.start()
    assert done.returncode != 0
    assert task.record.failed
    assert task.record.ended is not None
    assert "the code has changed since it was submitted (ffffffffffff then" in task.record.ended


def test_other_code_is_taken_where_it_was_accepted_and_another_pack_never_is(
    submitted: Callable[..., Submitted],
) -> None:
    task = submitted(source_sha256="f" * 64, accept_changes=True)
    done = task.start()
    assert "accepted by --accept-changes" in done.stdout
    assert done.returncode != 0, "the invented pack is none"
    assert task.record.ended is not None
    assert "has format version None" in task.record.ended


def test_an_abandoned_submission_does_nothing(submitted: Callable[..., Submitted]) -> None:
    task = submitted()
    task.ledger.write(abandoned(task.submission))
    done = task.start()
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout
    assert task.record == JobRecord()


def test_start_after_start_without_progress_it_ends_with_that_reason(
    submitted: Callable[..., Submitted],
) -> None:
    task = submitted()
    for _ in range(3):
        task.start()
        assert "got no further" not in (task.record.ended or "")
    task.study.finish(task.study.runs[0])
    task.start()
    assert task.record.starts_without_progress == 0
    for _ in range(3):
        task.start()
    assert task.record.ended is not None
    assert "got no further than 1 runs and 0 samples" in task.record.ended
    assert task.record.failed


def test_runs_that_other_code_has_begun_are_named(invent_study: StudyMaker) -> None:
    study = invent_study()
    ours, theirs, without_checkpoint, *_ = study.runs
    for spec, code, saved_at in ((ours, "a", 1), (theirs, "b", 1), (without_checkpoint, "b", None)):
        study.stop(spec, 1, saved_at=saved_at)
        (study.path(spec) / "environment.json").write_text(json.dumps([{"source_sha256": code}]))
    assert begun_with_other_code(study.folder, study.runs, "a") == [theirs]


@dataclass
class Clock:
    seconds: float = 0.0

    def __call__(self) -> float:
        self.seconds += 0.001
        return self.seconds


@dataclass
class Scene:
    study: Any
    ledger: Ledger
    clock: Clock

    def queue(self, own: list[RunSpec], node: str = "node1", **changes: Any) -> SharedRuns:
        names = tuple(spec.name for spec in own)
        submission = Submission(
            *("0" * 12, "trial", "2026-01-01T00:00:00+00:00", "submitted", (names,), {}, None),
            *("0" * 64, "1" * 64, "pack", RunSettings(), False, 1, 1, 100),
        )
        stop: Any = None  # no signal comes
        job = StartedJob(replace(submission, **changes), 0, self.ledger, self.study.folder, stop)
        job.node = node
        return SharedRuns(job, self.study.runs, self.clock)

    def held_elsewhere(self, spec: RunSpec) -> Path:
        """Let a process of another machine train a run, without end."""
        folder = self.study.path(spec)
        folder.mkdir(parents=True, exist_ok=True)
        holder = replace(LeaseHolder.this_process("job 1_0"), machine="another", pid_namespace=0)
        write_json(folder / LEASE, holder.__dict__)
        return folder / LEASE


@pytest.fixture
def scene(invent_study: StudyMaker) -> Scene:
    study = invent_study()
    ledger = Ledger(study.folder.path)
    ledger.prepare()
    return Scene(study, ledger, Clock())


def taken(queue: SharedRuns, study: Any) -> list[RunSpec]:
    """Take and finish runs until there is none."""
    found = []
    while isinstance(answer := queue.next(0, []), Assignment):
        study.finish(answer.spec)
        queue.ended(answer.spec, "done")
        found.append(answer.spec)
    return found


def test_own_runs_first_then_those_of_others_from_their_end(scene: Scene) -> None:
    first, second = (
        [spec for spec in scene.study.runs if spec.task.name == name] for name in ("effusion", "edema")
    )
    order = taken(scene.queue(second), scene.study)
    assert order[: len(second)] == second
    assert order[len(second)] == first[0], "what others wait for, since the rest goes on from it"
    assert order[len(second) + 1 :] == first[:0:-1]


def test_a_run_is_not_given_out_beside_its_baseline(scene: Scene) -> None:
    baseline, *sequels = [spec for spec in scene.study.runs if spec.task.name == "edema"]
    queue = scene.queue([baseline, *sequels])
    assert queue.next(0, []) == Assignment(baseline)
    others = queue.next(0, [baseline])
    assert isinstance(others, Assignment)
    assert others.spec.task.name == "effusion"


def test_a_run_waits_for_a_baseline_in_training_elsewhere_but_not_for_ever(scene: Scene) -> None:
    baseline, sequel, *_ = scene.study.runs
    for spec in scene.study.runs:
        if spec.task.name != baseline.task.name:
            scene.study.finish(spec)
    lease = scene.held_elsewhere(baseline)
    queue = scene.queue([sequel])
    assert queue.next(0, []) == "wait"
    lease.touch()
    scene.clock.seconds += 50
    assert queue.next(0, []) == "wait"
    lease.touch()
    scene.clock.seconds += 100
    assert queue.next(0, []) == "finished", "the node is given back"


def test_a_failed_baseline_keeps_nobody_waiting(scene: Scene) -> None:
    baseline, sequel, *_ = scene.study.runs
    scene.study.fail(baseline, "FloatingPointError: the loss is nan")
    assert scene.queue([sequel]).next(0, []) == Assignment(sequel), (
        "which says for itself that its baseline failed"
    )


def test_a_living_holder_is_left_alone_and_a_silent_one_is_watched(scene: Scene) -> None:
    for spec in scene.study.runs[1:]:
        scene.study.finish(spec)
    (run,) = scene.study.runs[:1]
    lease = scene.held_elsewhere(run)
    queue = scene.queue([run])
    assert queue.next(0, []) == "wait", "its holder may be dead"
    lease.touch()
    scene.clock.seconds += 10
    assert queue.next(0, []) == "finished", "its holder lives, and trains it"


def test_a_run_that_failed_is_tried_once_for_each_submission(scene: Scene) -> None:
    run, *others = scene.study.runs
    for spec in others:
        scene.study.finish(spec)
    scene.study.fail(run, "FloatingPointError: the loss is nan")
    before = scene.study.folder.failures(scene.study.runs)
    assert list(before) == [run.name]
    assert scene.queue([run]).next(0, []) == "finished"
    queue = scene.queue([run], failed_before=before)
    assert queue.next(0, []) == Assignment(run)
    result = scene.study.path(run) / "result.json"
    write_json(result, json.loads(result.read_text()))
    queue.ended(run, "failed")
    assert queue.next(0, []) == "finished"


def test_a_machines_fault_is_tried_on_other_nodes(scene: Scene) -> None:
    run, *others = scene.study.runs
    for spec in others:
        scene.study.finish(spec)
    scene.study.fail(run, "RuntimeError: CUDA error: uncorrectable ECC error encountered")
    scene.ledger.add_fault(run.name, "node1", "CUDA error")
    assert scene.queue([run]).next(0, []) == "finished"
    assert scene.queue([run], node="node2").next(0, []) == Assignment(run)
    scene.ledger.add_fault(run.name, "node2", "CUDA error")
    scene.ledger.add_fault(run.name, "node3", "CUDA error")
    assert scene.queue([run], node="node4").next(0, []) == "finished", "then it is the run's own fault"


def test_cancelled_runs_are_left_out(scene: Scene) -> None:
    scene.ledger.cancel([spec.name for spec in scene.study.runs])
    queue = scene.queue(list(scene.study.runs))
    assert queue.next(0, []) == "finished"


def test_a_run_whose_failure_was_not_written_down_is_not_tried_again(scene: Scene) -> None:
    run, *others = scene.study.runs
    for spec in others:
        scene.study.finish(spec)
    queue = scene.queue([run])
    assert queue.next(0, []) == Assignment(run)
    queue.ended(run, "failed")
    assert queue.next(0, []) == "finished"


def test_a_run_that_its_process_has_left_is_given_again_at_once(scene: Scene) -> None:
    run, *others = scene.study.runs
    for spec in others:
        scene.study.finish(spec)
    queue = scene.queue([run])
    assert queue.next(0, []) == Assignment(run)
    assert queue.next(0, [run]) == "finished"
    assert queue.next(0, []) == Assignment(run)
