"""Study folders as training leaves them, in the formats of docs/architecture.md, with invented numbers."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from clr_hpc.spec.pathologies import NO_FINDING, PATHOLOGIES
from clr_hpc.spec.run import RunSpec
from clr_hpc.spec.study import load_study

EPOCHS, STEPS_AN_EPOCH, TRAIN_IMAGES, PATIENTS = 4, 10, 320, 150
CHECKSUM = "c0ffee" + "0" * 58
SKILL = {"constant": 0.6, "triangular": 1.4, "triangular2_modified": 1.3}
"""How far the scores of positives stand above those of negatives, in standard deviations."""

StudyMaker = Callable[..., Path]


@pytest.fixture
def make_study(tmp_path: Path) -> StudyMaker:
    """Return a function that makes a whole study's folder, every run of it done."""

    def make(
        pathologies: tuple[str, ...] = ("effusion", "pneumothorax"),
        skill: Mapping[str, float] = SKILL,
        seeds: tuple[int, ...] = (0,),
        optimizers: tuple[str, ...] = ("sgd",),
        architectures: tuple[str, ...] = ("mobilenet_v1",),
    ) -> Path:
        folder = tmp_path / "study"
        folder.mkdir()
        study = {
            "name": "invented",
            "pack": "packs/invented",
            "pathologies": list(pathologies),
            "architectures": list(architectures),
            "optimizers": list(optimizers),
            "rates": {name: {"lr_min": 0.001, "lr_max": 0.01} for name in optimizers},
            "policies": [_policy(name) for name in skill],
            "seeds": list(seeds),
            "training": {"epochs": EPOCHS, "image_size": 64},
        }
        (folder / "study.yaml").write_text(yaml.safe_dump(study, sort_keys=False))
        (folder / "pack.json").write_text(json.dumps(manifest()))
        for spec in load_study(folder / "study.yaml").runs(CHECKSUM):
            write_run(folder / "runs" / spec.name, spec, skill[spec.policy.name])
        return folder

    return make


def _policy(name: str) -> dict[str, Any]:
    return {"name": name} if name == "constant" else {"name": name, "half_cycle_epochs": 1}


def manifest() -> dict[str, Any]:
    """Return a pack's manifest."""
    labels = {
        label: {"positive": 40 + 35 * position, "negative": 600 - 35 * position, "unknown": 0}
        for position, label in enumerate((*PATHOLOGIES, NO_FINDING))
    }
    splits = {name: {"images": 640, "patients": 400, "labels": labels} for name in ("train", "validation", "test")}
    return {
        "format_version": 1,
        "checksum": CHECKSUM,
        "size": 64,
        "resampling": "area",
        "source": {"kind": "phantom", "seed": 0},
        "split": {"kind": "seeded", "seed": 0},
        "counts": {"images": 1920, "patients": 1200, "rejected": 0, "splits": splits},
        "shards": [],
        "index": {"file": "index.parquet", "sha256": "0"},
        "rejected": {"file": "rejected.csv", "sha256": "0"},
    }


def write_run(folder: Path, spec: RunSpec, skill: float) -> None:
    """Write the folder of a run that is done; its validation images depend on the pathology alone."""
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(spec.model_dump_json())
    environment = {
        "command": "clr-hpc run study.yaml",
        "versions": {"torch": "2.15.0"},
        "commit": "abc",
        "gpu": None,
    }
    (folder / "environment.json").write_text(json.dumps([environment]))
    truth = np.random.default_rng(PATHOLOGIES.index(spec.pathology))
    patients = np.repeat(np.arange(PATIENTS), truth.integers(1, 4, PATIENTS))
    labels = truth.random(len(patients)) < 0.25
    noise = np.random.default_rng([spec.seed, *spec.policy.name.encode()])
    scores = 1 / (
        1 + np.exp(-(skill * labels + truth.normal(size=len(labels)) + 0.3 * noise.normal(size=len(labels))))
    )
    write_predictions(folder, [f"p{number}" for number in patients], labels, scores)
    splits = {
        "train": {"images": TRAIN_IMAGES, "positives": 80},
        "validation": {"images": len(labels), "positives": int(labels.sum())},
    }
    final = {
        "loss": 0.4,
        "accuracy": 0.7 + skill / 10,
        "auroc": 0.6 + skill / 6,
        "average_precision": 0.5,
        "elapsed_seconds": 9.0,
    }
    _write_metrics(folder, spec.policy.name, splits, final)
    final.pop("elapsed_seconds")
    result = {
        "status": "done",
        "reason": None,
        "samples": EPOCHS * TRAIN_IMAGES,
        "epochs": float(EPOCHS),
        "stopped_early": False,
        **{split: final | sizes for split, sizes in splits.items()},
        "best": {"progress": 3.0, "validation_loss": 0.4},
        "seconds": 61.5,
        "checkpoint_sha256": "0",
    }
    (folder / "result.json").write_text(json.dumps(result))


def write_predictions(folder: Path, patients: list[str], labels: Any, scores: Any) -> None:
    """Write predictions.parquet."""
    pd.DataFrame(
        {
            "image": [f"{position}.png" for position in range(len(patients))],
            "patient": patients,
            "split": "validation",
            "view": None,
            "age_years": None,
            "sex": None,
            "label": np.asarray(labels).astype(np.int8),
            "score": np.asarray(scores).astype(np.float32),
        }
    ).to_parquet(folder / "predictions.parquet")


def _write_metrics(folder: Path, policy: str, splits: dict[str, dict[str, int]], final: dict[str, float]) -> None:
    lines: list[dict[str, Any]] = []
    for epoch in range(EPOCHS):
        for step in range(1, STEPS_AN_EPOCH + 1):
            progress = epoch + step / STEPS_AN_EPOCH
            height = {"constant": 0.0, "triangular": 1.0}.get(policy, 0.5 ** (progress // 2))
            lr = 0.01 if not height else 0.001 + 0.009 * height * (1 - abs(progress % 2 - 1))
            samples = round(progress * TRAIN_IMAGES)
            position = {"kind": "step", "samples": samples, "progress": progress}
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
