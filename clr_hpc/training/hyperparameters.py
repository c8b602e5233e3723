"""A run's choices and final metrics as TensorBoard's HPARAMS tab compares them."""

from typing import Any

from clr_hpc.config.run import RunSpec

METRICS = {
    "final/test_auroc": "test AUROC",
    "auroc/validation": "validation AUROC",
    "accuracy/validation": "validation accuracy",
    "loss/validation": "validation loss",
    "loss/train": "training loss",
    "final/seconds": "seconds",
}
"""Tags whose last value is a run's final metric, and what they are called."""

POLICY_SETTINGS = "policy settings"
OPTIMIZER_SETTINGS = "optimizer settings"


def hyperparameters(spec: RunSpec) -> dict[str, str | float]:
    """Return what a run was given, by the names that people read.

    Every run has all of them, since the parallel coordinates leave out a run that lacks a column: so what only one
    policy or optimizer has is put into words.
    """
    policy, optimizer = spec.policy.model_dump(), spec.optimizer.model_dump()
    return {
        "task": spec.task.name,
        "stage": spec.stage,
        "architecture": spec.architecture,
        "optimizer": optimizer.pop("name"),
        OPTIMIZER_SETTINGS: _in_words(optimizer),
        "policy": policy.pop("name"),
        "lr max": policy.pop("lr_max"),
        POLICY_SETTINGS: _in_words(policy),
        "seed": spec.seed,
        "epochs": spec.training.epochs,
        "batch size": spec.training.batch_size,
        "image size": spec.training.image_size,
    }


def _in_words(settings: dict[str, Any]) -> str:
    given = {name.replace("_", " "): value for name, value in settings.items() if value is not None}
    words = (
        f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in given.items()
    )
    return ", ".join(words) or "none"
