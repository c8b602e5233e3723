"""Records as training writes them, with invented numbers."""

from typing import Any

from clr_hpc.store.bundle import checksum_of


def metrics(auroc: float = 0.7) -> dict[str, Any]:
    """Return a split's metrics around this AUROC."""
    return {
        "loss": 1 - auroc,
        "accuracy": 0.8,
        "auroc": auroc,
        "average_precision": 0.4,
        "images": 50,
        "positives": 10,
        "seconds": 0.1,
    }


def done_result(**changes: Any) -> dict[str, Any]:
    """Return the result of a run that is done."""
    values = {
        "status": "done",
        "reason": None,
        "samples": 640,
        "epochs": 4.0,
        "stopped_early": False,
        "train": metrics(0.9),
        "validation": metrics(0.9),
        "best": {"progress": 3.0, "validation_loss": 0.1},
        "models": {
            "last": {"train": metrics(0.9), "validation": metrics(0.9), "test": metrics(0.65), "threshold": None}
        },
        "threshold": None,
        "cost": {"steps": 20, "images": 640, "seconds": 16.0, "cpu_hours": 0.005, "gpu_hours": 0.0},
        "target": None,
        "seconds": 16.0,
        "checkpoint_sha256": "0" * 64,
    }
    return values | changes


def range_test_result(**changes: Any) -> dict[str, Any]:
    """Return the result of a range test."""
    no_model = {"train": None, "validation": None, "models": {}, "diverged": False, "checkpoint_sha256": None}
    return {"status": "done", "reason": None, "samples": 640, "epochs": 4.0, "seconds": 1.0} | no_model | changes


def step_values(**changes: Any) -> dict[str, Any]:
    """Return what is recorded of a step."""
    values = {
        "progress": 1.0,
        "loss": 0.5,
        "lr": 0.01,
        "momentum": 0.9,
        "gradient_norm": 2.0,
        "images_per_second": 50.0,
        "elapsed_seconds": 1.0,
    }
    return values | changes


def step_line(samples: int, **changes: Any) -> dict[str, Any]:
    """Return a step's line of metrics.jsonl."""
    return {"kind": "step", "samples": samples} | step_values(**changes)


def epoch_line(samples: int, progress: float, split: str = "validation", **changes: Any) -> dict[str, Any]:
    """Return an epoch's line of metrics.jsonl."""
    at = {"kind": "epoch", "samples": samples, "progress": progress, "split": split}
    return at | metrics() | {"elapsed_seconds": 1.0} | changes


def explanations(*findings: str, images: int = 20, **changes: Any) -> dict[str, Any]:
    """Return how the maps of findings found boxes: half of them point inside, a random place does in one of five.

    Two images are of each patient.
    """
    compared = [
        {
            "image": f"{number:02d}.png",
            "patient": f"p{number // 2:02d}",
            "score": 0.6,
            "has_heat": number > 0,
            "area": 0.2,
            "chance_overlap": 0.1,
            "centre": 0.0,
            "trained": {"pointing": float(number % 2), "inside": 0.3 + number / 100, "overlap": 0.2},
            "random": {"pointing": 0.2, "inside": 0.2, "overlap": 0.1},
            "rank_correlation": 0.1 if number else None,
        }
        for number in range(images)
    ]
    entries = [
        {"finding": name, "runs": [f"{name}.run"], "model": "last", "grid": [4, 4], "images": compared}
        for name in findings
    ]
    return {
        "format_version": 1,
        "made": "2026-01-02T12:00:00.500+00:00",
        "pack": "c0ffee" + "0" * 58,
        "split": "test",
        "overlap_threshold": 0.5,
        "random_draws": 5,
        "findings": entries,
    } | changes


def bundle(spec: Any, **changes: Any) -> dict[str, Any]:
    """Return the manifest of a bundle of one model with this spec, with its checksum."""
    weights, state = "weights/edema.seed0.0.safetensors", {"bytes": 8, "sha256": "0" * 64}
    model = {
        "run": "a run",
        "name": "last",
        "spec": spec,
        "metrics": done_result()["models"]["last"],
        "weights": [weights],
    }
    calibration = {"method": "logistic", "at": [1.0, 0.0], "values": []}
    setting = {
        "finding": "edema",
        "threshold": 0.4,
        "calibration": calibration,
        "class_scores": None,
        "models": [model],
    }
    values = {
        "format_version": 1,
        "clr_hpc": "0.1.0",
        "study": "invented",
        "pack": {"checksum": "0" * 64},
        "reading": {"size": 64, "bits": None, "window": "first"},
        "settings": [setting],
        "files": {weights: state},
    } | changes
    return {"checksum": checksum_of(values), **values}
