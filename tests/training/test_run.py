"""A run from start to end in this process: its folder, its stops, its failures."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import tiny_run
import torch
from torch.optim.lr_scheduler import OneCycleLR

from clr_hpc.config.optimizer import Adam
from clr_hpc.config.policy import Constant, OneCycle, Triangular
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.schedule.policies import learning_rate, momentum
from clr_hpc.store.checkpoints import Progress, progress_metadata
from clr_hpc.store.provenance import describe_environment
from clr_hpc.store.run_folder import RunFolder, latest_metrics, read_metrics
from clr_hpc.training.checkpoint import best_damage, load_tensors, model_weights, save_tensors
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.trainer import Trainer

CPU = torch.device("cpu")
POLICY = Triangular(lr_min=0.001, lr_max=0.02, half_cycle_epochs=0.5, momentum_min=0.8, momentum_max=0.95)


pytestmark = pytest.mark.usefixtures("one_thread")


make_spec = partial(tiny_run.make_spec, policy=POLICY)


def never() -> bool:
    return False


def after(steps: int) -> Callable[[], bool]:
    asked = count(1)
    return lambda: next(asked) >= steps


def run(
    spec: RunSpec, pack: Pack, folder: Path, should_stop: Callable[[], bool] = never, seconds: float = 1e9
) -> str:
    return train_run(spec, pack, folder, ProcessGroup.alone(CPU), should_stop, RunSettings(seconds), "test")


@pytest.fixture(scope="module")
def finished(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of two epochs that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "undisturbed"
    torch.set_num_threads(1)
    assert run(make_spec(small_pack), small_pack, folder) == "done"
    return folder


def test_folder_holds_what_the_architecture_says(finished: Path, small_pack: Pack) -> None:
    spec = make_spec(small_pack)
    assert RunSpec.model_validate_json((finished / "spec.json").read_text()) == spec
    result = json.loads((finished / "result.json").read_text())
    assert result["status"] == "done"
    assert result["epochs"] == 2
    (environment,) = json.loads((finished / "environment.json").read_text())
    assert environment["versions"]["torch"] == torch.__version__
    predictions = pd.read_parquet(finished / "predictions.parquet")
    assert set(predictions["model"]) == {"last", "snapshots", "swa"}, "two cycles ended"
    of_last = predictions[predictions["model"] == "last"]
    assert len(of_last) == len(small_pack.rows_of("validation")) + len(small_pack.rows_of("test"))
    predictions = of_last[of_last["split"] == "validation"]
    index = small_pack.index.loc[small_pack.rows_of("validation")].reset_index(drop=True)
    assert predictions["image"].tolist() == index["image"].tolist()
    assert predictions["patient"].tolist() == index["patient"].tolist()
    assert predictions["label"].tolist() == index["cardiomegaly"].tolist()
    assert predictions["score"].between(0, 1).all()
    assert ((predictions["score"] >= 0.5) == predictions["label"]).mean() == pytest.approx(
        result["validation"]["accuracy"]
    )
    _, best = load_tensors(finished / "best.safetensors")
    assert best["progress"] == result["best"]["progress"]
    losses = {entry["progress"]: entry["loss"] for entry in epochs(finished) if entry["split"] == "validation"}
    assert result["best"]["validation_loss"] == min(losses.values()) == losses[result["best"]["progress"]]


SAMPLE = 80
"""Images, of some 120."""
MEASURED = ("loss", "accuracy", "auroc", "average_precision", "images", "positives")


def measures(entry: dict[str, float]) -> dict[str, float]:
    return {name: entry[name] for name in MEASURED}


def steps(folder: Path) -> list[dict[str, float]]:
    return [entry for entry in read_metrics(folder) if entry["kind"] == "step"]


def epochs(folder: Path) -> list[dict[str, float]]:
    return [entry for entry in read_metrics(folder) if entry["kind"] == "epoch"]


def test_rate_and_momentum_at_a_step_are_those_of_the_samples_seen_before_it(finished: Path) -> None:
    recorded = steps(finished)
    batch_size, per_epoch = 16, epochs(finished)[0]["samples"]
    assert len(recorded) == 2 * per_epoch / batch_size
    for entry in recorded:
        before = (entry["samples"] - batch_size) / per_epoch
        assert entry["lr"] == learning_rate(POLICY, before)
        assert entry["momentum"] == momentum(POLICY, before)
        assert entry["progress"] == entry["samples"] / per_epoch


def test_a_step_records_its_gradients_norm_before_clipping(small_pack: Pack, tmp_path: Path) -> None:
    norms = []
    for clip in (0.0, 1e6, 0.01):
        training = {"epochs": 1, "image_size": 32, "batch_size": 64, "gradient_clip_norm": clip}
        run(make_spec(small_pack, training=training), small_pack, tmp_path / str(clip))
        norms.append(steps(tmp_path / str(clip))[0]["gradient_norm"])
    assert norms[0] > 1
    assert norms[1:] == pytest.approx(norms[:1] * 2)


def test_rates_grow_with_the_batch_if_the_spec_says_so(small_pack: Pack, tmp_path: Path) -> None:
    scaling = {"rule": "linear", "reference_batch_size": 32}
    training = {"epochs": 1, "image_size": 32, "batch_size": 64, "rate_scaling": scaling}
    run(make_spec(small_pack, training=training), small_pack, tmp_path / "run")
    for number, entry in enumerate(steps(tmp_path / "run")):
        assert entry["lr"] == 2 * learning_rate(POLICY, number * 64 / entry["samples"] * entry["progress"])


def test_a_batch_larger_than_the_training_set_scales_rates_as_the_batch_in_force(
    small_pack: Pack, tmp_path: Path
) -> None:
    scaling = {"rule": "linear", "reference_batch_size": 32}
    training = {"epochs": 1, "image_size": 32, "batch_size": 1000, "rate_scaling": scaling}
    run(make_spec(small_pack, training=training), small_pack, tmp_path / "run")
    (entry,) = steps(tmp_path / "run")
    in_force = json.loads((tmp_path / "run" / "result.json").read_text())["batch_size"]
    assert in_force == entry["samples"] < 200
    assert entry["lr"] == pytest.approx(in_force / 32 * learning_rate(POLICY, 0))


def test_one_cycle_ends_in_the_last_step_as_torchs_does(small_pack: Pack, tmp_path: Path) -> None:
    policy = OneCycle(lr_min=1e-4, lr_max=1e-3, total_epochs=2, warmup_fraction=0.4)
    training = {"epochs": 2, "image_size": 32, "batch_size": 16}
    run(make_spec(small_pack, policy=policy, training=training), small_pack, tmp_path / "run")
    rates = [entry["lr"] for entry in steps(tmp_path / "run")]
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=1.0)
    theirs = OneCycleLR(
        optimizer, 1e-3, total_steps=len(rates), pct_start=0.4, div_factor=10, cycle_momentum=False
    )
    expected = theirs.get_last_lr()
    for _ in rates[1:]:
        optimizer.step()
        theirs.step()
        expected += theirs.get_last_lr()
    assert rates == pytest.approx(expected, rel=1e-9)
    assert rates[-1] == pytest.approx(1e-4 / 1e4, rel=1e-6)


def test_every_epoch_measures_all_images_of_both_splits(finished: Path, small_pack: Pack) -> None:
    found = [(entry["progress"], entry["split"], entry["images"]) for entry in epochs(finished)]
    sizes = {split: len(small_pack.rows_of(split)) for split in ("train", "validation")}
    assert found == [(epoch, split, sizes[split]) for epoch in (1.0, 2.0) for split in ("train", "validation")]


@pytest.mark.parametrize("stops", [(1,), (3, 4), (7, 1, 2)])
def test_stopped_and_gone_on_ends_in_the_same_bytes(
    stops: tuple[int, ...], finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    spec = make_spec(small_pack)
    for number in stops:
        assert run(spec, small_pack, tmp_path / "run", after(number)) == "stopped"
    assert run(spec, small_pack, tmp_path / "run") == "done"
    assert checkpoint_sha256(tmp_path / "run") == checkpoint_sha256(finished)
    volatile = {"images_per_second", "elapsed_seconds", "seconds", "loss"}
    stable = [
        [{k: v for k, v in e.items() if k not in volatile} for e in steps(f)] for f in (tmp_path / "run", finished)
    ]
    assert stable[0] == stable[1]
    assert len(json.loads((tmp_path / "run" / "environment.json").read_text())) == len(stops) + 1


def checkpoint_sha256(folder: Path) -> str:
    return json.loads((folder / "result.json").read_text())["checkpoint_sha256"]


@pytest.mark.parametrize(("architecture", "size"), [("mobilenet_v1", 32), ("alexnet", 64), ("densenet121", 32)])
@pytest.mark.usefixtures("thin_alexnet")
def test_every_architecture_resumes_bit_for_bit(
    architecture: str, size: int, tiny_pack: Pack, tmp_path: Path
) -> None:
    """AlexNet has dropout, whose masks must not depend on the stop either."""
    assert_it_resumes_bit_for_bit(architecture, size, tiny_pack, tmp_path)


def test_pretraining_resumes_bit_for_bit(small_pack: Pack, tmp_path: Path) -> None:
    training = {"epochs": 1, "batch_size": 24, "augmentation": {"flip_probability": 0.5, "scale_fraction": 0.3}}
    changes = {"task": {"kind": "pretraining"}, "stage": "pretrain"}
    spec = make_spec(small_pack, training=training, **changes)
    assert run(spec, small_pack, tmp_path / "whole") == "done"
    for steps_taken in (1, 2):
        assert run(spec, small_pack, tmp_path / "parts", after(steps_taken)) == "stopped"
        torch.manual_seed(99)
    assert run(spec, small_pack, tmp_path / "parts") == "done"
    assert checkpoint_sha256(tmp_path / "parts") == checkpoint_sha256(tmp_path / "whole")


@pytest.mark.parametrize(
    "method",
    [
        {"name": "autoencoder", "residual": "ssim", "normalised": True},
        {"name": "deep_svdd", "boundary": "soft", "batch_norm_scale": "fixed"},
    ],
    ids=str,
)
def test_one_class_networks_resume_bit_for_bit(method: dict[str, Any], small_pack: Pack, tmp_path: Path) -> None:
    """Cycles end within epochs too, and each model has what its scores need."""
    spec = make_spec(
        small_pack,
        task={"kind": "one_class", "method": method},
        policy=Triangular(lr_min=1e-4, lr_max=1e-3, half_cycle_epochs=0.25),
        training={"epochs": 2, "batch_size": 8},
    )
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert run(spec, small_pack, whole) == "done"
    for steps_taken in (2, 5):
        assert run(spec, small_pack, parts, after(steps_taken)) == "stopped"
        torch.manual_seed(99)
    assert run(spec, small_pack, parts) == "done"
    assert checkpoint_sha256(parts) == checkpoint_sha256(whole)
    results = [json.loads((folder / "result.json").read_text())["files"] for folder in (whole, parts)]
    for name in ("predictions.parquet", "swa.safetensors"):
        assert results[0][name]["sha256"] == results[1][name]["sha256"]
    trainer = Trainer(spec, small_pack, ProcessGroup.alone(CPU))
    if trainer.model.fits_scores:
        snapshots = sorted((whole / "snapshots").glob("*.safetensors"))
        assert len(snapshots) == 4
        for file in (*snapshots, whole / "swa.safetensors", *(whole / "checkpoints").glob("*.safetensors")):
            trainer.model.load_state_dict(model_weights(load_tensors(file)[0]))
            kept = trainer.model.usual
            trainer.fit_scores()
            torch.testing.assert_close(trainer.model.usual, kept)


@pytest.mark.slow
def test_57_million_weights_resume_bit_for_bit(tiny_pack: Pack, tmp_path: Path) -> None:
    assert_it_resumes_bit_for_bit("alexnet", 64, tiny_pack, tmp_path)


def assert_it_resumes_bit_for_bit(architecture: str, size: int, pack: Pack, tmp_path: Path) -> None:
    training = {"epochs": 1, "image_size": size, "batch_size": 12, "class_imbalance": "balanced_sampling"}
    spec = make_spec(pack, architecture=architecture, optimizer=Adam(), training=training)
    assert run(spec, pack, tmp_path / "whole") == "done"
    assert run(spec, pack, tmp_path / "parts", after(2)) == "stopped"
    torch.manual_seed(99)
    assert run(spec, pack, tmp_path / "parts") == "done"
    assert checkpoint_sha256(tmp_path / "parts") == checkpoint_sha256(tmp_path / "whole")


def test_a_lost_newest_checkpoint_costs_steps_but_changes_nothing(
    finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    spec = make_spec(small_pack)
    run(spec, small_pack, tmp_path / "run", after(3))
    run(spec, small_pack, tmp_path / "run", after(3))
    newest = max((tmp_path / "run" / "checkpoints").glob("*.safetensors"))
    newest.write_bytes(newest.read_bytes()[:-1])
    assert run(spec, small_pack, tmp_path / "run") == "done"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["checkpoint_sha256"] == checkpoint_sha256(finished)
    assert newest.name in result["damaged_checkpoints"][0]
    last = f"{result['samples']:012d}.safetensors"
    kept = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert kept == [last, f"{last}.sha256"], "a run that has ended falls back to no other"
    samples = [entry["samples"] for entry in steps(tmp_path / "run")]
    assert samples == sorted(set(samples)), "no step may be there twice"


@pytest.mark.parametrize("damaged", ["best.safetensors", "snapshots/*.safetensors"])
def test_a_damaged_model_that_no_checkpoint_brings_back_is_trained_again(
    damaged: str, finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    """Its result would else name the damaged bytes as those of the best weights."""
    spec = make_spec(small_pack)
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    file = min((tmp_path / "run").glob(damaged))
    file.write_bytes(file.read_bytes()[:-1])
    assert run(spec, small_pack, tmp_path / "run") == "done"
    results = [json.loads((folder / "result.json").read_text()) for folder in (finished, tmp_path / "run")]
    sums = [{name: file["sha256"] for name, file in result["files"].items()} for result in results]
    for same in ("best.safetensors", "swa.safetensors", "predictions.parquet"):
        assert sums[1][same] == sums[0][same]
    assert file.name in results[1]["damaged_checkpoints"][0]


def test_best_weights_that_are_newer_than_the_checkpoint_may_be_without_their_checksum(tmp_path: Path) -> None:
    """As a kill between the two leaves them; the run comes by there again."""
    best = tmp_path / "best.safetensors"
    save_tensors(best, {"model.a": torch.ones(3)}, {"progress": 2.0, "validation_loss": 0.5})
    best.with_name("best.safetensors.sha256").unlink()
    assert best_damage(best, Progress(8, best_loss=None)) is None
    assert best_damage(best, Progress(8, best_loss=0.6, best_progress=1.0)) is None
    assert best_damage(best, Progress(16, best_loss=0.5, best_progress=2.0)) is not None
    best.write_bytes(b"")
    assert best_damage(best, Progress(8, best_loss=0.6, best_progress=1.0)) is not None
    best.unlink()
    assert best_damage(best, Progress(8, best_loss=0.6, best_progress=1.0)) is None, "it may have been deleted"


def test_a_finished_run_is_left_alone(finished: Path, small_pack: Pack) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.rglob("*")}
    assert run(make_spec(small_pack), small_pack, finished) == "done"
    assert {path: path.stat().st_mtime_ns for path in finished.rglob("*")} == before


def test_a_pack_of_smaller_images_is_an_error(small_pack: Pack, tmp_path: Path) -> None:
    training = {"epochs": 1, "image_size": 96}
    assert run(make_spec(small_pack, training=training), small_pack, tmp_path / "run") == "failed"
    assert "image_size=96 is larger than the pack's 64" in (tmp_path / "run" / "result.json").read_text()


def test_a_run_that_another_process_trains_is_not_touched(small_pack: Pack, tmp_path: Path) -> None:
    spec = make_spec(small_pack)
    with RunFolder(tmp_path / "run").open(spec, describe_environment(CPU), "test"):
        assert run(spec, small_pack, tmp_path / "run") == "in use"
    assert not (tmp_path / "run" / "result.json").exists()


def test_foreign_checkpoints_are_passed_over_and_cost_none_of_the_runs_own(
    finished: Path, small_pack: Pack, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    assert run(make_spec(small_pack), small_pack, folder, after(3)) == "stopped"
    for number in (1, 2):
        other = {"model.other": torch.zeros(2)}
        foreign = folder / "checkpoints" / f"{999 + number:012d}.safetensors"
        save_tensors(foreign, other, progress_metadata(Progress(samples=999 + number)))
    (folder / "checkpoints" / f"{1002:012d}.safetensors").mkdir()
    assert run(make_spec(small_pack), small_pack, folder) == "done"
    ended, undisturbed = (json.loads((path / "result.json").read_text()) for path in (folder, finished))
    assert ended["checkpoint_sha256"] == undisturbed["checkpoint_sha256"]
    assert [message.split(": ")[1][:9] for message in ended["damaged_checkpoints"]] == ["it has no"] * 2


def test_a_failure_that_cannot_be_written_down_is_one_of_the_run_alone(
    small_pack: Pack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def spoil() -> bool:
        (tmp_path / "run" / "metrics.jsonl").unlink(missing_ok=True)
        for name in ("metrics.jsonl", "result.json"):
            (tmp_path / "run" / name).mkdir()
        return False

    assert run(make_spec(small_pack), small_pack, tmp_path / "run", spoil) == "failed"
    assert "metrics.jsonl" in caplog.text
    assert "can't be written down" in caplog.text


def test_a_folder_that_cannot_be_made_fails_its_run(
    small_pack: Pack, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "run").touch()
    assert run(make_spec(small_pack), small_pack, tmp_path / "run") == "failed"
    assert "FileExistsError" in caplog.text


def test_what_goes_wrong_when_a_folder_is_opened_is_its_result(small_pack: Pack, tmp_path: Path) -> None:
    (tmp_path / "run" / "spec.json").mkdir(parents=True)
    assert run(make_spec(small_pack), small_pack, tmp_path / "run") == "failed"
    assert "IsADirectoryError" in json.loads((tmp_path / "run" / "result.json").read_text())["reason"]


def test_early_stop_ends_a_run_whose_validation_loss_stays(tiny_pack: Pack, tmp_path: Path) -> None:
    training = {"epochs": 30, "image_size": 32, "batch_size": 16, "early_stop_epochs": 2}
    spec = make_spec(tiny_pack, policy=Constant(lr_max=1e-12), training=training)
    assert run(spec, tiny_pack, tmp_path / "run") == "done"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["stopped_early"]
    assert result["epochs"] == result["best"]["progress"] + 2


def test_the_training_split_may_be_measured_seldom_and_is_after_the_last_epoch(
    tiny_pack: Pack, tmp_path: Path
) -> None:
    measured, digests = [], set()
    for every in (1, 2):
        training = {"epochs": 3, "image_size": 32, "batch_size": 16, "measure_training_split_every": every}
        folder = tmp_path / str(every)
        assert run(make_spec(tiny_pack, training=training), tiny_pack, folder) == "done"
        measured.append([entry["progress"] for entry in epochs(folder) if entry["split"] == "train"])
        digests.add(checkpoint_sha256(folder))
    assert measured == [[1, 2, 3], [2, 3]]
    assert len(digests) == 1, "measuring changes nothing"


@pytest.mark.parametrize("early_stop_epochs", [None, 1])
def test_along_a_run_a_sample_of_the_training_split_is_measured_and_all_of_it_at_the_end(
    small_pack: Pack, tmp_path: Path, early_stop_epochs: int | None
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    results, sizes, lines, digests = [], [], [], set()
    for images in ("all", SAMPLE):
        training = {"epochs": 3, "image_size": 32, "batch_size": 16, "training_accuracy_images": images}
        training["early_stop_epochs"] = early_stop_epochs
        spec = make_spec(small_pack, policy=Constant(lr_max=0.1), training=training)
        folder = tmp_path / str(images)
        assert run(spec, small_pack, folder) == "done"
        results.append(json.loads((folder / "result.json").read_text()))
        lines.append([entry for entry in epochs(folder) if entry["split"] == "train"])
        sizes.append({(entry["images"], entry.get("of_images")) for entry in lines[-1]})
        digests.add(checkpoint_sha256(folder))
    assert len(digests) == 1, "measuring changes nothing"
    whole, sampled = results
    assert sampled["stopped_early"] == bool(early_stop_epochs)
    assert measures(sampled["train"]) == measures(whole["train"])
    assert sampled["validation"]["loss"] == whole["validation"]["loss"]
    training_images = whole["train"]["images"]
    assert sizes[0] == {(training_images, None)}
    ((images, of_images),) = sizes[1]
    assert 0 < images <= SAMPLE < of_images == training_images
    assert 0 < lines[1][0]["positives"] < lines[0][0]["positives"]
    scalars = EventAccumulator(str(tmp_path / str(SAMPLE))).Reload()
    assert len(scalars.Scalars("accuracy/train_sample")) == len(lines[1])
    (exact,) = scalars.Scalars("accuracy/train")
    assert (exact.step, exact.value) == (sampled["samples"], pytest.approx(sampled["train"]["accuracy"]))


def test_the_last_line_is_of_the_same_sample_as_the_others(small_pack: Pack, tmp_path: Path) -> None:
    """After the last epoch the sample is a part of the whole split, before it is evaluated by itself."""
    found = []
    for epochs_trained in (1, 2):
        training = {
            "epochs": epochs_trained,
            "image_size": 32,
            "batch_size": 16,
            "training_accuracy_images": SAMPLE,
        }
        folder = tmp_path / str(epochs_trained)
        assert run(make_spec(small_pack, policy=Constant(lr_max=0.01), training=training), small_pack, folder)
        found.append(next(entry for entry in epochs(folder) if entry["split"] == "train"))
    of_part, by_itself = map(measures, found)
    assert of_part == pytest.approx(by_itself, rel=1e-5)


def test_measuring_takes_no_random_number(small_pack: Pack) -> None:
    training = {"epochs": 1, "image_size": 64, "batch_size": 16, "training_accuracy_images": SAMPLE}
    spec = make_spec(small_pack, architecture="alexnet", training=training)
    trainer = Trainer(spec, small_pack, ProcessGroup.alone(CPU))
    torch.manual_seed(1)
    before = torch.get_rng_state()
    trainer.evaluate_training_sample(None)
    trainer.evaluate_training_sample(trainer.evaluate("train")["train"])
    assert torch.equal(torch.get_rng_state(), before)
    assert trainer.model.training


def test_clipping_and_bfloat16_change_training(small_pack: Pack, tmp_path: Path) -> None:
    base = {"epochs": 1, "image_size": 32, "batch_size": 32}
    digests = set()
    for number, change in enumerate(({}, {"gradient_clip_norm": 0.01}, {"precision": "bfloat16"})):
        spec = make_spec(small_pack, training=base | change)
        assert run(spec, small_pack, tmp_path / str(number)) == "done"
        digests.add(checkpoint_sha256(tmp_path / str(number)))
    assert len(digests) == 3


def test_newest_metrics_are_read_from_the_end(finished: Path) -> None:
    newest = latest_metrics(finished)
    assert set(newest) == {"step", "train", "validation"}
    assert newest["step"] == steps(finished)[-1]
    assert newest["validation"] == epochs(finished)[-1]


def test_tensorboard_reads_each_step_once(small_pack: Pack, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    spec = make_spec(small_pack)
    run(spec, small_pack, tmp_path / "run", after(3))
    run(spec, small_pack, tmp_path / "run", after(4))
    run(spec, small_pack, tmp_path / "run")
    events = EventAccumulator(str(tmp_path / "run"))
    events.Reload()
    recorded = steps(tmp_path / "run")
    rates = events.Scalars("training/lr")
    assert [event.step for event in rates] == [entry["samples"] for entry in recorded]
    assert [event.value for event in rates] == pytest.approx([entry["lr"] for entry in recorded])
    assert {"accuracy/train", "auroc/validation", "loss/validation", "training/momentum"} <= set(
        events.Tags()["scalars"]
    )
    assert "inputs" in events.Tags()["images"]
    assert "precision_recall/cardiomegaly/validation" in events.Tags()["tensors"]
