"""The queue of trials' runs, with run folders as training leaves them."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from made_records import done_result, epoch_line

from clr_hpc.config.base import UserError
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.data.manifest import Counts, LabelCounts, SplitCounts
from clr_hpc.places.queue import Assignment
from clr_hpc.store.atomic import write_json
from clr_hpc.tuning.outcome import outcome_of
from clr_hpc.tuning.search import Proposals, make_search
from clr_hpc.tuning.space import dimensions_of
from clr_hpc.tuning.trial_queue import TrialQueue, check_objective
from clr_hpc.tuning.tuner import Trial, TrialPlan, Tuner, last_promotion, promotion
from clr_hpc.tuning.tuning_folder import Journal

CHECKSUM = "c0ffee" + "0" * 58
STUDY = yaml.safe_load("""
name: trial
pack: packs/none
pathologies: [edema]
optimizers: [sgd]
rates: {sgd: {lr_min: 0.001, lr_max: 0.01}}
stages: {scratch: {policies: [triangular]}}
seeds: [0, 1]
training: {epochs: 4, batch_size: 16, image_size: 32}
tune: {search: grid, space: {batch_size: [16, 32, 64, 128]}}
""")
STUDY["stages"]["scratch"]["policies"] = [{"name": "triangular", "half_cycle_epochs": 1}]


class Bench:
    """A queue whose runs are trained by writing down what they come to."""

    def __init__(self, folder: Path, **tune: Any) -> None:
        self.runs = folder / "runs"
        self.runs.mkdir(exist_ok=True)
        self.study = Study.model_validate(STUDY | {"tune": STUDY["tune"] | tune})
        tuning = self.study.tune
        assert tuning is not None
        dimensions = dimensions_of(tuning.space)
        proposals = Proposals(make_search("grid", dimensions, 0), dimensions, 0)
        plan = TrialPlan(tuning.trials, 4, tuning.early_stopping, higher_is_better=True)
        self.tuner = Tuner(plan, proposals, Journal(folder / "trials.jsonl"))
        self.ended: list[Trial] = []
        self.queue = TrialQueue(self.tuner, self.study, CHECKSUM, self.runs, self.ended.append)

    def next(self, *busy: RunSpec) -> Assignment:
        """Return the next assignment, of which there must be one."""
        answer = self.queue.next(0, busy)
        assert isinstance(answer, Assignment)
        return answer

    def train(self, run: Assignment, auroc: float | None = 0.8) -> None:
        """Train a run as far as the queue says."""
        self.write(run.spec, int(min(run.until_epochs, 4)), auroc)
        self.queue.ended(run.spec, "done" if run.until_epochs == math.inf else "stopped")

    def write(self, spec: RunSpec, epochs: int, auroc: float | None = 0.8) -> None:
        """Leave what training leaves after so many epochs."""
        folder = self.runs / spec.name
        folder.mkdir(exist_ok=True)
        lines = [json.dumps(epoch_line(epoch, float(epoch), auroc=auroc)) for epoch in range(1, epochs + 1)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n")
        if epochs == 4:
            write_json(folder / "result.json", done_result())


def test_every_seed_of_a_trial_is_trained_and_their_mean_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.next()
    second = bench.next(first.spec)
    assert [first.spec.seed, second.spec.seed] == [0, 1]
    assert first.spec.training.batch_size == second.spec.training.batch_size == 16
    bench.train(second, auroc=0.9)
    assert not bench.ended
    bench.train(first, auroc=0.7)
    assert [trial.measured for trial in bench.ended] == [{4: pytest.approx(0.8)}]


def test_a_free_process_gets_the_next_trial_while_others_are_busy(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    under_way: list[RunSpec] = []
    for _ in range(6):
        under_way.append(bench.next(*under_way).spec)
    assert [spec.training.batch_size for spec in under_way] == [16, 16, 32, 32, 64, 64]
    assert len({spec.run_id for spec in under_way}) == 6


def test_a_run_that_is_done_already_is_not_trained_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.next().spec
    bench.write(first, 4)
    again = Bench(tmp_path)
    second = again.next().spec
    assert (second.seed, second.training.batch_size) == (1, 16)


def test_runs_pause_at_rungs_and_the_best_go_on(tmp_path: Path) -> None:
    bench = Bench(tmp_path, early_stopping={"min_epochs": 1, "reduction": 2})
    trained = []
    while isinstance(run := bench.queue.next(0, []), Assignment):
        batch_size = run.spec.training.batch_size
        trained.append((batch_size, run.spec.seed, run.until_epochs))
        bench.train(run, auroc=0.5 + batch_size / 1000)
    assert run == "finished"
    ends = {batch_size for batch_size, _, until in trained if until == math.inf}
    assert 128 in ends
    assert 16 not in ends
    assert {until for _, _, until in trained} == {1.0, 2.0, math.inf}


def test_a_run_that_another_search_has_is_tried_again_later(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.next().spec
    second = bench.next(first).spec
    assert second != first, "which counts as busy meanwhile"
    assert bench.next(second).spec == first


def test_a_failed_run_fails_its_trial_and_no_other(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.next().spec
    folder = bench.runs / first.name
    folder.mkdir()
    write_json(folder / "result.json", {"status": "failed", "reason": "FloatingPointError: too high"})
    bench.queue.ended(first, "failed")
    assert [trial.failure for trial in bench.ended] == ["seed 0: FloatingPointError: too high"]
    while isinstance(run := bench.queue.next(0, []), Assignment):
        bench.train(run)
    assert [trial.failure is None for trial in bench.tuner.trials] == [False, True, True, True]


def test_a_run_whose_failure_was_not_written_down_fails_its_trial(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.next().spec
    bench.queue.ended(first, "failed")
    assert [trial.failure for trial in bench.ended] == [f"seed 0: {bench.runs / first.name} could not be written"]


def test_a_stopped_run_is_given_out_again(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.next().spec
    bench.queue.ended(first, "stopped")
    assert bench.next().spec == first


def test_a_metric_that_is_not_defined_fails_the_trial_with_that_reason(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    first = bench.next()
    bench.train(first, auroc=None)
    assert "has one class only" in str(bench.ended[0].failure)


def test_what_failed_trials_were_trained_for_counts(tmp_path: Path) -> None:
    bench = Bench(tmp_path, seeds=[0])
    for auroc in (None, 0.7):
        bench.train(bench.next(), auroc=auroc)
    dimensions = dimensions_of(bench.study.tune.space)  # type: ignore[union-attr]
    cost = outcome_of(bench.tuner, bench.study, dimensions, CHECKSUM, bench.runs, "CPU", 1)["cost"]
    assert bench.tuner.trials[0].failure is not None
    assert cost["epochs_trained"] == cost["epochs_without_early_stopping"] == 8


@pytest.mark.parametrize(
    ("positive", "negative", "objective", "told"),
    [
        (3, 5, "auroc", None),
        (0, 5, "auroc", "0 images with edema and 5 without; .*or take objective: loss"),
        (5, 0, "auroc", "5 images with edema and 0 without"),
        (0, 5, "loss", None),
        (0, 0, "loss", "larger validation split$"),
    ],
)
def test_an_objective_that_can_not_be_measured_is_rejected(
    tmp_path: Path, positive: int, negative: int, objective: str, told: str | None
) -> None:
    labels = {"edema": LabelCounts(positive=positive, negative=negative)}
    split = SplitCounts(images=positive + negative, patients=1, labels=labels)
    counts = Counts(images=8, patients=1, rejected=0, splits={"validation": split})
    study = Bench(tmp_path, objective=objective).study
    if told is None:
        check_objective(study, counts)
        return
    with pytest.raises(UserError, match=told):
        check_objective(study, counts)


Losses = dict[int, float]
losses = st.dictionaries(st.integers(0, 30), st.floats(0, 1, allow_nan=False), max_size=30)
reductions = st.integers(2, 5)


@given(losses, reductions)
def test_of_so_many_trials_one_goes_on(reached: Losses, reduction: int) -> None:
    gone: set[int] = set()
    while (promoted := promotion([reached], [gone], reduction)) is not None:
        trial, rung = promoted
        assert (rung, trial in gone) == (0, False)
        gone.add(trial)
    assert len(gone) == len(reached) // reduction
    if gone:
        stayed = [loss for trial, loss in reached.items() if trial not in gone]
        assert max(reached[trial] for trial in gone) <= min(stayed)


@given(losses, reductions, st.data())
def test_nobody_goes_on_twice_whoever_went_before(reached: Losses, reduction: int, data: st.DataObject) -> None:
    gone = data.draw(st.sets(st.sampled_from(sorted(reached)))) if reached else set()
    promoted = promotion([reached], [gone], reduction)
    assert promoted is None or promoted[0] not in gone


def test_the_higher_rung_comes_first() -> None:
    reached = [dict.fromkeys(range(6), 0.5), {0: 0.3, 1: 0.2}]
    assert promotion(reached, [{0, 1}, set()], 2) == (1, 1)
    assert promotion(reached, [{0, 1}, {1}], 2) == (2, 0)


def test_a_better_trial_that_comes_late_still_goes_on() -> None:
    early = {0: 0.5, 1: 0.6}
    assert promotion([early], [set()], 2) == (0, 0)
    assert promotion([early | {2: 0.7}], [{0}], 2) is None
    assert promotion([early | {2: 0.1}], [{0}], 2) == (2, 0)


@given(losses, losses)
def test_a_search_of_few_trials_ends_with_the_best_of_the_highest_rung(low: Losses, high: Losses) -> None:
    promoted = last_promotion([low, high], [set(high), set()])
    if high:
        assert promoted is not None
        assert (promoted[1], high[promoted[0]]) == (1, min(high.values()))
    elif low:
        assert promoted is not None
        assert (promoted[1], low[promoted[0]]) == (0, min(low.values()))
    else:
        assert promoted is None
