"""A run's event file: what TensorBoard shows of it."""

import threading
import time
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from clr_hpc.config.run import RunSpec

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch.utils.tensorboard.writer import SummaryWriter


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


FLUSH_SECONDS = 10
"""A shared disk may have a slow metadata server: at most one write in this time, whatever is recorded."""

STEP_TAGS = ("loss", "lr", "momentum", "gradient_norm", "images_per_second")
EPOCH_TAGS = ("loss", "accuracy", "auroc", "average_precision")


def measured_on(split: str, metrics: Mapping[str, Any]) -> str:
    """Return the end of the tags of metrics: the split, or that they are of a sample of it."""
    return f"{split}_sample" if "of_images" in metrics else split


@cache
def _leave_errors_to_the_next_call() -> None:
    """Keep the thread that writes event files from printing what the next call to it raises: the disk is full."""
    from tensorboard.summary.writer.event_file_writer import _AsyncWriterThread

    print_traceback = threading.excepthook

    def hook(raised: threading.ExceptHookArgs) -> None:
        if not (isinstance(raised.thread, _AsyncWriterThread) and isinstance(raised.exc_value, OSError)):
            print_traceback(raised)

    threading.excepthook = hook


class RunEvents:
    """One event file, of one start of a run."""

    def __init__(self, writer: "SummaryWriter", spec: RunSpec) -> None:
        """Write to a writer that ``begin`` made."""
        self._writer, self._task = writer, spec.task.name

    @classmethod
    def begin(cls, folder: Path, spec: RunSpec, samples: int) -> Self:
        """Start a file that takes the place of everything that earlier starts recorded after ``samples``."""
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb  # .api would import TensorFlow
        from torch.utils.tensorboard.writer import SummaryWriter

        _leave_errors_to_the_next_call()
        first_replaced = samples + 1 if samples else 0
        writer = SummaryWriter(str(folder), purge_step=first_replaced, flush_secs=FLUSH_SECONDS)
        choices = hparams_pb(hyperparameters(spec), trial_id=spec.run_id)
        writer._get_file_writer().add_summary(choices)  # type: ignore[no-untyped-call]
        return cls(writer, spec)

    def step(self, samples: int, values: dict[str, float | None]) -> None:
        """Draw what a training step recorded."""
        for name in STEP_TAGS:
            self._scalar(f"training/{name}", values.get(name), samples)
        self._scalar(f"task/{self._task}/learning_rate", values.get("lr"), samples)

    def epoch(self, samples: int, split: str, metrics: dict[str, Any]) -> None:
        """Draw a split's metrics, those of validation also in the charts of the run's task."""
        for name in EPOCH_TAGS:
            self._scalar(f"{name}/{measured_on(split, metrics)}", metrics[name], samples)
        if split == "validation":
            self._scalar(f"task/{self._task}/validation_auroc", metrics["auroc"], samples)
            self._scalar(f"task/{self._task}/validation_loss", metrics["loss"], samples)

    def inputs(self, samples: int, images: "NDArray[np.float32]") -> None:
        """Show images ``(N, H, W)`` in [0, 1]."""
        self._writer.add_images("inputs", images[:, None], samples)

    def answers(
        self, samples: int, split: str, labels: "NDArray[np.float32]", scores: "NDArray[np.float32]"
    ) -> None:
        """Draw a precision-recall curve from labels and scores ``(N,)`` in [0, 1]."""
        self._writer.add_pr_curve(f"precision_recall/{self._task}/{split}", labels, scores, samples)

    def end(self, result: dict[str, Any], lines: Iterable[Mapping[str, Any]]) -> None:
        """Add the metrics that only a finished run has, and say that it is finished.

        Args:
            result: of the run.
            lines: the last of its metrics; what they have of the end is drawn already.
        """
        from tensorboard.compat.proto.summary_pb2 import Summary
        from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

        samples = result["samples"]
        at_the_end = [line for line in lines if "split" in line and line["samples"] == samples]
        drawn = [measured_on(line["split"], line) for line in at_the_end]
        for split in ("train", "validation"):
            if split not in drawn and result[split]:
                self.epoch(samples, split, result[split])
        if result["models"]:
            self._scalar("final/test_auroc", result["models"]["last"]["test"]["auroc"], samples)
        self._scalar("final/seconds", result["seconds"], samples)
        end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=time.time())
        content = plugin_data_pb2.HParamsPluginData(session_end_info=end)
        value = Summary.Value(
            tag=metadata.SESSION_END_INFO_TAG,
            metadata=metadata.create_summary_metadata(content),
            tensor=metadata.NULL_TENSOR,
        )
        self._writer._get_file_writer().add_summary(Summary(value=[value]))  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Write what is waiting and close the file."""
        self._writer.close()

    def _scalar(self, tag: str, value: float | None, samples: int) -> None:
        if value is not None:
            self._writer.add_scalar(tag, value, samples)
