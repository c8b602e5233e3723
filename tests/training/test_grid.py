"""The validation loss on a grid of steps: where it is measured, what it estimates, and that it changes nothing."""

import json
from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_run
import torch
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.config.grid import POINTS_PER_EPOCH, grid_images, is_grid_step, points_per_epoch
from clr_hpc.config.policy import Cosine
from clr_hpc.config.run import RunSpec, WarmStart
from clr_hpc.data.pack import Pack
from clr_hpc.store.metrics import read_metrics
from clr_hpc.training import hooks
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.grid import stratified_sample
from clr_hpc.training.run import RunSettings, train_run

CPU = torch.device("cpu")
TRAINING = {"epochs": 2, "image_size": 32, "batch_size": 8}


pytestmark = pytest.mark.usefixtures("one_thread")


def baseline_of(pack: Pack) -> RunSpec:
    policy = Cosine(lr_max=0.01, total_epochs=2)
    return tiny_run.make_spec(pack, TRAINING, stage="baseline", policy=policy)


def retrained_of(pack: Pack, **start: str) -> RunSpec:
    warm = WarmStart(baseline=baseline_of(pack), **start)
    return tiny_run.make_spec(pack, TRAINING, stage="retrain", start=warm)


def train(
    spec: RunSpec,
    pack: Pack,
    runs_folder: Path,
    should_stop: Callable[[], bool] = lambda: False,
    seconds: float = 1e9,
) -> str:
    folder, group = runs_folder / spec.name, ProcessGroup.alone(CPU)
    return train_run(spec, pack, folder, group, should_stop, RunSettings(seconds), "test")


def lines(spec: RunSpec, runs_folder: Path, kind: str, *keys: str) -> list[tuple[Any, ...]]:
    found = [line for line in read_metrics(runs_folder / spec.name) if line["kind"] == kind]
    return [tuple(line[key] for key in keys) for line in found]


def result(spec: RunSpec, runs_folder: Path) -> dict[str, Any]:
    return json.loads((runs_folder / spec.name / "result.json").read_text())


@pytest.fixture(scope="module")
def finished(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The runs folder of a baseline and its retraining."""
    folder = tmp_path_factory.mktemp("grid")
    for spec in (baseline_of(small_pack), retrained_of(small_pack)):
        assert train(spec, small_pack, folder) == "done"
    return folder


@given(st.integers(1, 3000))
def test_points_are_spread_evenly_and_end_the_epoch(steps: int) -> None:
    points = [step for step in range(1, steps + 1) if is_grid_step(step, steps)]
    assert len(points) == points_per_epoch(steps) == min(steps, POINTS_PER_EPOCH)
    assert points[-1] == steps
    gaps = np.diff([0, *points])
    assert gaps.max() - gaps.min() <= 1
    assert [step for step in range(steps + 1, 2 * steps + 1) if is_grid_step(step, steps)] == [
        steps + point for point in points
    ], "every epoch alike"


@given(positives=st.integers(0, 60), negatives=st.integers(0, 60), share=st.floats(0, 1))
def test_a_sample_counts_for_the_split(positives: int, negatives: int, share: float) -> None:
    labels = np.repeat(np.array([1, 0], np.float32), [positives, negatives])
    images = max(2, round(share * len(labels)))
    if images > len(labels):
        return
    chosen, weights = stratified_sample(labels, images)
    assert len(set(chosen)) == images
    assert weights.sum() == pytest.approx(1)
    assert weights @ labels[chosen] == pytest.approx(labels.mean()), "of each class as much as in the split"
    assert labels[chosen].sum() == min(positives, max(images // 2, images - negatives))
    assert np.array_equal(stratified_sample(labels, images)[0], chosen)


def test_a_sample_estimates_the_mean_without_bias() -> None:
    labels = (np.arange(40) % 4 == 0).astype(np.float32)
    generator = np.random.default_rng(0)
    estimates = []
    for _ in range(4000):
        values = generator.normal(labels * 3, 1)
        chosen, weights = stratified_sample(labels, 12)
        estimates.append(values[chosen] @ weights - values.mean())
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(4000)


def test_large_packs_are_sampled_and_small_ones_measured_completely() -> None:
    assert grid_images(11_000, 78_000) == 512
    assert grid_images(700, 3_200) == 100
    assert grid_images(60, 120) == 60


def test_the_loss_is_measured_at_the_points_and_at_the_start_of_a_retraining(
    finished: Path, small_pack: Pack
) -> None:
    steps = 15
    points = [8 * step for step in range(1, 2 * steps + 1) if is_grid_step(step, steps)]
    for spec, start in ((baseline_of(small_pack), []), (retrained_of(small_pack), [0])):
        assert [samples for (samples,) in lines(spec, finished, "grid", "samples")] == start + points


def test_a_sample_that_is_the_split_has_its_loss(finished: Path, small_pack: Pack) -> None:
    spec = retrained_of(small_pack)
    on_grid = dict(lines(spec, finished, "grid", "samples", "loss"))
    at_ends = [line for line in lines(spec, finished, "epoch", "split", "samples", "loss") if line[0] != "train"]
    assert len(at_ends) == 2
    for _, samples, loss in at_ends:
        assert on_grid[samples] == pytest.approx(loss, rel=1e-5)


def test_weights_and_all_other_records_are_those_without_a_grid(
    finished: Path, small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hooks, "is_measured_on_grid", lambda _: False)
    for spec in (baseline_of(small_pack), retrained_of(small_pack)):
        assert train(spec, small_pack, tmp_path) == "done"
        with_grid, without = result(spec, finished), result(spec, tmp_path)
        assert without["on_grid"] is None
        for key in ("checkpoint_sha256", "target", "best", "samples"):
            if key == "target" and with_grid[key] is not None and with_grid[key]["reached_at"] is not None:
                with_grid[key]["reached_at"].pop("seconds")
                without[key]["reached_at"].pop("seconds")
            assert with_grid[key] == without[key], key
        for kind, keys in (("step", ("samples", "loss", "lr", "gradient_norm")), ("epoch", ("loss", "auroc"))):
            assert lines(spec, finished, kind, *keys) == lines(spec, tmp_path, kind, *keys)
        files = [folder / spec.name / "predictions.parquet" for folder in (finished, tmp_path)]
        assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("stop_after", [3, 17])
def test_a_run_that_stopped_has_the_lines_of_one_that_did_not(
    finished: Path, small_pack: Pack, tmp_path: Path, stop_after: int
) -> None:
    spec = baseline_of(small_pack)
    asked = count(1)
    assert train(spec, small_pack, tmp_path, lambda: next(asked) == stop_after) == "stopped"
    assert train(spec, small_pack, tmp_path) == "done"
    keys = ("samples", "progress", "loss", "images")
    assert lines(spec, tmp_path, "grid", *keys) == lines(spec, finished, "grid", *keys)


def test_a_run_killed_before_its_first_checkpoint_has_its_start_once(
    finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    spec = retrained_of(small_pack)
    (tmp_path / spec.start.baseline.name).symlink_to(finished / spec.start.baseline.name)

    def killed() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(spec, small_pack, tmp_path, killed)
    assert train(spec, small_pack, tmp_path) == "done"
    assert lines(spec, tmp_path, "grid", "samples", "loss") == lines(spec, finished, "grid", "samples", "loss")


def test_the_target_is_the_baselines_best_on_the_grid(finished: Path, small_pack: Pack) -> None:
    baseline, spec = baseline_of(small_pack), retrained_of(small_pack)
    best = min(loss for (loss,) in lines(baseline, finished, "grid", "loss"))
    found = result(baseline, finished)["on_grid"]
    assert found == {"images": 60, "points_per_epoch": 8, "best_loss": best, "target": None}
    target = result(spec, finished)["on_grid"]["target"]
    assert target["validation_loss"] == best
    reached = [samples for samples, loss in lines(spec, finished, "grid", "samples", "loss") if loss <= best]
    assert (target["reached_at"] is None) == (not reached)
    if reached:
        assert target["reached_at"]["steps"] == reached[0] // 8


def with_result(folder: Path, finished: Path, spec: RunSpec, found: dict[str, Any]) -> None:
    """Put a finished run into another runs folder, with another result."""
    (folder / spec.name).mkdir()
    for file in (finished / spec.name).iterdir():
        if file.name != "result.json":
            (folder / spec.name / file.name).symlink_to(file)
    (folder / spec.name / "result.json").write_text(json.dumps(found))


def test_a_retraining_that_starts_at_the_target_reaches_it_at_once(
    finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    baseline, spec = baseline_of(small_pack), retrained_of(small_pack)
    best_at_its_end = result(baseline, finished)
    best_at_its_end["on_grid"]["best_loss"] = lines(baseline, finished, "grid", "loss")[-1][0] * (1 - 1e-8)
    with_result(tmp_path, finished, baseline, best_at_its_end)
    assert train(spec, small_pack, tmp_path) == "done"
    assert result(spec, tmp_path)["on_grid"]["target"]["reached_at"]["steps"] == 0


def test_a_baseline_from_before_there_was_a_grid_sets_no_target_on_it(
    finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    baseline, spec = baseline_of(small_pack), retrained_of(small_pack)
    old = result(baseline, finished)
    del old["on_grid"]
    with_result(tmp_path, finished, baseline, old)
    assert train(spec, small_pack, tmp_path) == "done"
    found = result(spec, tmp_path)
    assert found["on_grid"]["target"] is None
    assert found["target"]["validation_loss"] == old["best"]["validation_loss"]
