"""What is written down about training steps, without waiting for the device at each of them."""

import math
import time

from torch import Tensor

from clr_hpc.training.prepared_run import PreparedRun
from clr_hpc.training.run_folder import RunFolder

RECORDS_PER_EPOCH = 20


class StepLog:
    """Sums losses on the device and records their mean some times an epoch."""

    def __init__(self, run: PreparedRun, folder: RunFolder, already_elapsed: float) -> None:
        """Write to ``folder``; ``already_elapsed`` are the seconds of the run's earlier starts."""
        self._run, self._folder = run, folder
        self._started = time.monotonic() - already_elapsed
        steps_per_epoch = run.samples_per_epoch // run.batch_size
        self._record_every_samples = max(1, steps_per_epoch // RECORDS_PER_EPOCH) * run.batch_size
        self.restart_window()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds that the run has taken, over all its starts."""
        return round(time.monotonic() - self._started, 3)

    def restart_window(self) -> None:
        """Forget what was summed; what happened meanwhile doesn't count as training time."""
        self._loss_sum: Tensor | None = None
        self._steps = self._samples = 0
        self._window_started = time.monotonic()

    def step(self, samples: int, loss: Tensor, lr: float, momentum: float | None, batch_size: int) -> None:
        """Count a step that ended at ``samples`` samples seen.

        Raises:
            FloatingPointError: the mean loss since the last record is not finite.
        """
        self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
        self._steps += 1
        self._samples += batch_size
        if samples % self._record_every_samples:
            return
        mean_loss = float(self._loss_sum) / self._steps
        if not math.isfinite(mean_loss):
            raise FloatingPointError(
                f"the loss is {mean_loss} after {samples} samples at lr={lr:g}: training diverged; lower lr_max"
            )
        self._folder.record_step(
            samples,
            progress=self._run.epochs(samples),
            loss=mean_loss,
            lr=lr,
            momentum=momentum,
            images_per_second=round(self._samples / (time.monotonic() - self._window_started), 1),
            elapsed_seconds=self.elapsed_seconds,
        )
        self.restart_window()
