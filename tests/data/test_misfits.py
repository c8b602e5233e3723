"""What keeps runs from being trained on a pack, by its manifest alone."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clr_hpc.config.network import NETWORKS
from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.config.policy import Constant
from clr_hpc.config.run import RunSpec, Training, WarmStart
from clr_hpc.config.task import Autoencoder, BinaryTask, DeepSvdd, NearestNeighbours, OneClassTask, PyodDetector
from clr_hpc.data.manifest import Counts, FileEntry, LabelCounts, Manifest, SplitCounts, ViewCounts, count_labels
from clr_hpc.data.misfits import MisfitError, check_fit
from clr_hpc.data.splits import SeededSplit

FILE = FileEntry(file="x", bytes=1, sha256="0" * 64)


def pack_with(**labels: tuple[int, int]) -> Manifest:
    """Return a manifest of 64 pixels a side whose training images have these labels: positive, negative."""
    known = {
        name: LabelCounts(positive=positive, negative=negative) for name, (positive, negative) in labels.items()
    }
    split = SplitCounts(images=9, patients=9, labels=count_labels(PATHOLOGIES, []) | known)
    counts = Counts(images=9, patients=9, rejected=0, splits={"train": split})
    shared: dict[str, Any] = {"shards": (), "index": FILE, "rejected": FILE, "source": {}, "resampling": "area"}
    return Manifest(size=64, split=SeededSplit(), counts=counts, **shared)


def spec(task: Any = None, **changes: Any) -> RunSpec:
    values = {"pack_checksum": "0" * 64, "architecture": "mobilenet_v1", "optimizer": {"name": "sgd"}}
    training = Training(**{"epochs": 1, "image_size": 32} | changes.pop("training", {}))
    shared = values | {"stage": "scratch", "policy": Constant(lr_max=0.1), "training": training}
    return RunSpec(**shared | {"task": task or BinaryTask(pathology="mass")} | changes)


GOOD = {"mass": (4, 5), "edema": (4, 5), "no_finding": (5, 4)}
FITTED = OneClassTask(method=NearestNeighbours())


def misfits(pack: Manifest, *runs: RunSpec) -> str:
    with pytest.raises(MisfitError) as caught:
        check_fit(runs, pack)
    return str(caught.value)


def test_a_detector_of_pyod_needs_pyod(monkeypatch: pytest.MonkeyPatch) -> None:
    fit = spec(
        OneClassTask(method=PyodDetector(detector="ECOD")),
        stage="fit",
        start=WarmStart(baseline=spec(stage="baseline")),
    )
    check_fit([fit], pack_with(**GOOD))
    monkeypatch.setattr("clr_hpc.data.misfits.find_spec", lambda _: None)
    assert "pyod/ECOD needs pyod, which is not installed; install it" in misfits(pack_with(**GOOD), fit)


def test_what_fits_is_accepted() -> None:
    batches = [(33, "mobilenet_v1"), (64, "densenet121"), (64, "alexnet")]
    runs = [spec(architecture=name, training={"image_size": size, "batch_size": 1}) for size, name in batches]
    own_network = spec(OneClassTask(method=Autoencoder()), training={"batch_size": 1})
    check_fit([spec(), spec(OneClassTask(method=DeepSvdd())), own_network, *runs], pack_with(**GOOD))


def test_every_reason_is_given_once() -> None:
    told = misfits(pack_with(mass=(0, 9), edema=(9, 0)), *[spec(training={"image_size": 96, "batch_size": 8})] * 3)
    assert told.count("image_size=96 is larger than the pack's 64 pixels") == 1
    assert told.count("no training image with mass among 9") == 1
    assert "without edema among 9" in misfits(pack_with(edema=(9, 0)), spec(BinaryTask(pathology="edema")))


def test_a_finding_that_the_pack_does_not_have_is_named_with_the_nearest() -> None:
    told = misfits(pack_with(**GOOD, rib_fracture=(4, 5)), spec(BinaryTask(pathology="ribs_fracture")))
    assert told == "no training image of the pack has this label: 'ribs_fracture'; did you mean 'rib_fracture'?"


def test_views_that_the_pack_does_not_have_are_named() -> None:
    run = spec(training={"select": {"view": ["P A"]}})
    assert "of format version 2, does not count its views; pack again" in misfits(pack_with(**GOOD), run)
    pack = pack_with(**GOOD)
    split = pack.counts.splits["train"]
    of_pa = ViewCounts(images=split.images, labels=split.labels)
    counts = pack.counts.model_copy(
        update={"splits": {"train": split.model_copy(update={"views": {"PA": of_pa}})}}
    )
    pack = pack.model_copy(update={"counts": counts})
    assert "unknown view: 'P A'; did you mean 'PA'? (the views of this pack)" in misfits(pack, run)
    check_fit([spec(training={"select": {"view": ["PA"]}})], pack)


def test_one_class_needs_images_of_the_class() -> None:
    one = pack_with(**GOOD | {"no_finding": (1, 8)})
    assert "1 training images of no_finding; a one-class model" in misfits(
        one, spec(OneClassTask(method=DeepSvdd()))
    )
    four, baseline = pack_with(**GOOD | {"no_finding": (4, 5)}), spec(stage="baseline")
    fit = spec(FITTED, stage="fit", start=WarmStart(baseline=baseline))
    assert "nearest_neighbours needs images of 5 patients" in misfits(four, fit)
    assert "with mass" in misfits(pack_with(**GOOD | {"mass": (0, 9)}), fit), "its baseline is looked at, too"


@pytest.mark.parametrize(("size", "name", "least"), [(32, "mobilenet_v1", 33), (60, "densenet121", 61)])
def test_a_batch_of_one_is_too_small_for_batch_norm(size: int, name: str, least: int) -> None:
    run = spec(architecture=name, training={"image_size": size, "batch_size": 1})
    assert f"raise batch_size to 2, or image_size to {least}" in misfits(pack_with(**GOOD), run)


def test_initial_weights_are_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "weights.pt"
    run = spec(training={"initialisation": {"weights": "imagenet", "file": str(file)}})
    assert f"initialisation.file={file}: there is no such file" in misfits(pack_with(**GOOD), run)
    file.touch()
    check_fit([run], pack_with(**GOOD))
    monkeypatch.setitem(NETWORKS, "mobilenet_v1", replace(NETWORKS["mobilenet_v1"], imagenet=None))
    run = spec(training={"initialisation": {"weights": "imagenet"}})
    assert "no ImageNet weights to download" in misfits(pack_with(**GOOD), run)
