"""Study folders as training leaves them, in the formats of docs/reference/formats.md, with invented numbers."""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from needs import skip_or_fail
from numpy.typing import NDArray

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES
from clr_hpc.config.run import RunSpec

EPOCHS, STEPS_AN_EPOCH, TRAIN_IMAGES, PATIENTS = 4, 10, 320, 150
SKILL = {"constant": 0.6, "triangular": 1.4, "triangular2_modified": 1.3}
"""How far the scores of positives stand above those of negatives, in standard deviations."""
RETRAINED = {"cosine": 1.0, "triangular": 1.4, "triangular2_modified": 1.0}
ONE_CLASS_METHODS = ("deep_svdd", "autoencoder", "one_class_svm", "isolation_forest", "nearest_neighbours")

StudyMaker = Callable[..., Path]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture
def browse(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs headless Chromium on a page, cut off from any network."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        skip_or_fail(f"no browser: none of {', '.join(BROWSERS)} is installed")

    def run(page: Path, *options: str) -> subprocess.CompletedProcess[str]:
        background = ("background-networking", "component-update", "sync", "gpu", "dev-shm-usage")
        return subprocess.run(
            [
                browser,
                "--headless",
                "--no-sandbox",
                "--no-first-run",
                "--hide-scrollbars",
                "--enable-logging=stderr",
                "--host-resolver-rules=MAP * ~NOTFOUND",
                f"--user-data-dir={tmp_path / 'profile'}",
                *(f"--disable-{service}" for service in background),
                *options,
                page.as_uri(),
            ],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
            env=os.environ | {"HOME": str(tmp_path)},
        )

    return run


@pytest.fixture
def make_study(tmp_path: Path) -> StudyMaker:
    """Return a function that makes a whole study's folder, every run of it done."""

    def make(
        pathologies: tuple[str, ...] = ("effusion", "pneumothorax"),
        skill: Mapping[str, float] = SKILL,
        seeds: tuple[int, ...] = (0,),
        optimizers: tuple[str, ...] = ("sgd",),
        architectures: tuple[str, ...] = ("mobilenet_v1",),
        retrained: Mapping[str, float] | None = None,
        one_class: tuple[str, ...] = (),
        positives: Mapping[str, int] = MappingProxyType({}),
        imbalance: str | None = None,
        retraining: Mapping[str, Any] = MappingProxyType({}),
        name: str = "invented",
    ) -> Path:
        """Make a study.

        Args:
            pathologies: of the binary classifiers.
            skill: of each policy from scratch; empty: nothing is trained from scratch.
            seeds: of the runs.
            optimizers: of the runs.
            architectures: of the runs.
            retrained: where there are baselines: the skill of the decay that they have and of each cyclical policy
                that they are retrained with.
            one_class: methods that learn the images without a finding.
            positives: images in each split, of pathologies that have other numbers than usual.
            retraining: further keys of the stage ``retrain``.
            imbalance: ``class_imbalance``, if it is not the default.
            name: of the study; another than the default also names its folder.
        """
        folder = tmp_path / ("study" if name == "invented" else name)
        folder.mkdir()
        stages: dict[str, Any] = {"scratch": {"policies": [_policy(name) for name in skill]}} if skill else {}
        if retrained is not None:
            decay, *cyclical = retrained
            stages["baseline"] = {"policies": [_policy(decay)]}
            stages["retrain"] = {"policies": [_policy(name) for name in cyclical]} | dict(retraining)
        study: dict[str, Any] = {
            "name": name,
            "pack": "packs/invented",
            "pathologies": list(pathologies),
            "architectures": list(architectures),
            "optimizers": list(optimizers),
            "rates": {name: {"lr_min": 0.001, "lr_max": 0.01} for name in optimizers},
            "stages": stages,
            "seeds": list(seeds),
            "training": {"epochs": EPOCHS, "image_size": 64},
        }
        if imbalance is not None:
            study["training"]["class_imbalance"] = imbalance
        if one_class:
            study["one_class"] = [{"methods": list(one_class)}]
            if retrained is not None:
                study["one_class"][0]["features_of"] = pathologies[0]
        (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        pack = manifest(positives)
        (folder / "pack.json").write_text(json.dumps(pack))
        for spec in expand(load_study(folder / "study.yaml"), pack["checksum"]):
            known = skill if spec.stage == "scratch" else retrained or skill
            write_run(folder / "runs" / spec.name, spec, known[spec.policy.name])
        return folder

    return make


def _policy(name: str) -> dict[str, Any]:
    return {"name": name} if name in ("constant", "cosine") else {"name": name, "half_cycle_epochs": 1}


def manifest(positives: Mapping[str, int]) -> dict[str, Any]:
    """Return a pack's manifest, with these numbers of positives in each split."""
    labels = {
        label: {"positive": 40 + 35 * position, "negative": 600 - 35 * position, "unknown": 0}
        for position, label in enumerate((*PATHOLOGIES, NO_FINDING))
    }
    for label, images in positives.items():
        labels[label]["positive"] = images
    splits = {name: {"images": 640, "patients": 400, "labels": labels} for name in ("train", "validation", "test")}
    values = {
        "format_version": 1,
        "size": 64,
        "resampling": "area",
        "source": {"kind": "phantom", "seed": 0},
        "split": {"kind": "seeded", "seed": 0},
        "counts": {"images": 1920, "patients": 1200, "rejected": 0, "splits": splits},
        "shards": [],
        "index": {"file": "index.parquet", "sha256": "0"},
        "rejected": {"file": "rejected.csv", "sha256": "0"},
    }
    canonical = json.dumps(values, sort_keys=True, ensure_ascii=False)
    return values | {"checksum": hashlib.sha256(canonical.encode()).hexdigest()}


def write_run(folder: Path, spec: RunSpec, skill: float) -> None:
    """Write the folder of a run that is done; its images depend on the task alone."""
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec.model_dump_json())
    environment = {
        "command": "clr-hpc run study.yaml",
        "versions": {"torch": "2.15.0"},
        "commit": "abc",
        "gpu": None,
    }
    (folder / "environment.json").write_text(json.dumps([environment]))
    (folder / "architecture.json").write_text(json.dumps(LAYERS))
    one_class = spec.task.kind == "one_class"
    number = 99 if one_class else PATHOLOGIES.index(spec.task.name)
    models = ["last", "swa", "snapshots"] if spec.policy.name.startswith("triangular") else ["last"]
    splits = ("train", "validation", "test") if one_class else ("validation", "test")
    parts = [_invented_split(split, number, spec, skill, models) for split in splits]
    if one_class:
        parts[0] = parts[0][parts[0]["label"] == 0]
    predictions = pd.concat(parts, ignore_index=True)
    predictions.to_parquet(folder / "predictions.parquet")
    sizes = {
        split: {"images": len(rows), "positives": int(rows["label"].sum())}
        for split, rows in predictions[predictions["model"] == "last"].groupby("split")
    } | {"train": {"images": TRAIN_IMAGES, "positives": 0 if one_class else 80}}
    final = {
        "loss": 0.4,
        "accuracy": 0.7 + skill / 10,
        "auroc": 0.6 + skill / 6,
        "average_precision": 0.5,
        "elapsed_seconds": 9.0,
    }
    steps = 0 if spec.stage == "fit" else EPOCHS * STEPS_AN_EPOCH
    if steps:
        curves = {split: sizes[split] for split in ("train", "validation")}
        _write_metrics(folder, spec.policy.name, curves, final)
    final.pop("elapsed_seconds")
    reached = None if skill < 1 else {"steps": round(30 / skill), "images": 960, "progress": 3.0, "seconds": 20.1}
    result = {
        "status": "done",
        "reason": None,
        "samples": steps * 32,
        "epochs": float(EPOCHS),
        "stopped_early": False,
        "train": final | sizes["train"],
        "validation": final | sizes["validation"],
        "models": {
            model: {split: final | sizes[split] for split in ("train", "validation", "test")}
            | {"threshold": _quantile_of_training(predictions, model) if one_class else None}
            for model in models
        },
        "threshold": _quantile_of_training(predictions, "last") if one_class else None,
        "cost": {"steps": steps, "images": steps * 32, "seconds": 61.5, "cpu_hours": 0.02, "gpu_hours": 0.0},
        "target": {"validation_loss": 0.41, "reached_at": reached}
        if spec.stage in ("retrain", "control")
        else None,
        "best": {"progress": 3.0, "validation_loss": 0.4},
        "seconds": 61.5,
        "checkpoint_sha256": "0",
    }
    (folder / "result.json").write_text(json.dumps(result))


def _quantile_of_training(predictions: pd.DataFrame, model: str) -> float:
    rows = predictions[(predictions["split"] == "train") & (predictions["model"] == model)]
    return float(rows["score"].quantile(0.95))


def _invented_split(split: str, task: int, spec: RunSpec, skill: float, models: list[str]) -> pd.DataFrame:
    """Return one split's rows of predictions: the same images for every run of a task."""
    facts, labels, hard = _invented_images(split, task)
    noise = np.random.default_rng([spec.seed, *spec.stage.encode(), *spec.policy.name.encode(), *split.encode()])
    rows = []
    for model in models:
        quiet = 0.3 if model == "last" else 0.2
        scores = 1 / (1 + np.exp(-(skill * labels + hard + quiet * noise.normal(size=len(labels)) - 1)))
        rows.append(facts.assign(model=model, score=scores.astype(np.float32)))
    return pd.concat(rows, ignore_index=True)


@cache
def _invented_images(split: str, task: int) -> tuple[pd.DataFrame, NDArray[np.bool_], NDArray[np.float64]]:
    """Return a split's images, which of them are positive, and how hard each is to tell from the others."""
    truth = np.random.default_rng([task, *split.encode()])
    patients = np.repeat(np.arange(PATIENTS), truth.integers(1, 4, PATIENTS))
    images = len(patients)
    labels = truth.random(images) < 0.25
    hard = truth.normal(size=images)
    facts = {
        "image": [f"{split}-{task}-{position}.png" for position in range(images)],
        "patient": [f"{split}-{patient}" for patient in patients],
        "split": split,
        "view": truth.choice(["PA", "AP"], images),
        "age_years": truth.integers(5, 90, images).astype(np.float64),
        "sex": truth.choice(["F", "M"], images),
        "label": labels.astype(np.int8),
    }
    return pd.DataFrame(facts), labels, hard


LAYERS = {
    "input": [1, 64, 64],
    "parameters": 4_900,
    "layers": [
        {"name": "conv_stem", "kind": "Conv 3×3, stride 2", "output": [32, 32, 32], "parameters": 288},
        {"name": "blocks.0", "kind": "Depthwise 3×3, Conv 1×1", "output": [64, 32, 32], "parameters": 2_336},
        {"name": "global_pool", "kind": "Global average", "output": [64], "parameters": 0},
        {"name": "classifier", "kind": "Linear", "output": [1], "parameters": 65},
    ],
}
"""What architecture.json holds."""


def _write_metrics(folder: Path, policy: str, splits: dict[str, dict[str, int]], final: dict[str, float]) -> None:
    lines: list[dict[str, Any]] = []
    for epoch in range(EPOCHS):
        for step in range(1, STEPS_AN_EPOCH + 1):
            progress = epoch + step / STEPS_AN_EPOCH
            height = {"constant": 0.0, "cosine": 0.0, "triangular": 1.0}.get(policy, 0.5 ** (progress // 2))
            lr = 0.01 if not height else 0.001 + 0.009 * height * (1 - abs(progress % 2 - 1))
            samples = round(progress * TRAIN_IMAGES)
            position = {
                "kind": "step",
                "samples": samples,
                "progress": progress,
                "elapsed_seconds": 9.0 * progress,
            }
            lines.append(position | {"loss": 0.6, "lr": lr, "momentum": 0.9, "images_per_second": 500.0 + step})
        share = (epoch + 1) / EPOCHS
        for split, sizes in splits.items():
            at = {"samples": (epoch + 1) * TRAIN_IMAGES, "progress": float(epoch + 1), "split": split}
            measured = final | {
                "accuracy": 0.5 + share * (final["accuracy"] - 0.5),
                "auroc": 0.5 + share * (final["auroc"] - 0.5),
            }
            lines.append({"kind": "epoch"} | at | measured | sizes)
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
