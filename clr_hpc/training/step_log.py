"""What is written down about training steps, without waiting for the device at each of them."""

import math

import numpy as np
from torch import Tensor

from clr_hpc.training.prepared_run import PreparedRun
from clr_hpc.training.run_folder import RunFolder
from clr_hpc.training.turns import own_seconds
from clr_hpc.training.world import DisagreementError

RECORDS_PER_EPOCH = 20


class StepLog:
    """Sums losses on the device and records their mean some times an epoch."""

    def __init__(
        self,
        run: PreparedRun,
        folder: RunFolder,
        already_elapsed: float,
        records_per_epoch: int = RECORDS_PER_EPOCH,
    ) -> None:
        """Write to ``folder``, one record a step at most; ``already_elapsed``: seconds of earlier starts."""
        self._run, self._folder = run, folder
        self._started = own_seconds() - already_elapsed
        steps_per_epoch = run.samples_per_epoch // run.batch_size
        self._record_every_samples = max(1, steps_per_epoch // records_per_epoch) * run.batch_size
        self.restart_window()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds that the run has taken, over all its starts."""
        return round(own_seconds() - self._started, 3)

    def restart_window(self) -> None:
        """Forget what was summed; what happened meanwhile doesn't count as training time."""
        self._loss_sum: Tensor | None = None
        self._steps = 0
        self._window_started = own_seconds()

    def step(self, samples: int, loss: Tensor, lr: float, momentum: float | None) -> float | None:
        """Count a step that ended at ``samples`` samples seen.

        Returns:
            The mean loss since the last record, over all processes, where it was recorded; else None.

        Raises:
            FloatingPointError: the mean loss since the last record, or the gradient, is not finite.
            DisagreementError: the processes have taken the step with different rates.
        """
        self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
        self._steps += 1
        self._lr, self._momentum = lr, momentum
        if samples % self._record_every_samples:
            return None
        mean_loss, gradient_norm = self.require_finite(samples), self._run.gradient_norm()
        if not math.isfinite(gradient_norm):
            raise self._diverged("the gradient's norm", gradient_norm, samples)
        if self._run.world.is_first:
            self._folder.record_step(
                samples,
                progress=self._run.epochs(samples),
                loss=mean_loss,
                lr=lr,
                momentum=momentum,
                gradient_norm=gradient_norm,
                images_per_second=round(
                    self._steps * self._run.batch_size / (own_seconds() - self._window_started), 1
                ),
                elapsed_seconds=self.elapsed_seconds,
            )
        self.restart_window()
        return mean_loss

    def require_finite(self, samples: int) -> float | None:
        """Return the mean loss since the last record, over all processes; None where no step was taken since.

        Raises:
            FloatingPointError: it is not finite.
            DisagreementError: the processes have taken the last step with different rates.
        """
        if self._loss_sum is None:
            return None
        everyones = self._run.world.gather([float(self._loss_sum) / self._steps, self._lr, self._momentum or 0.0])
        if (everyones[:, 1:] != everyones[0, 1:]).any():
            raise DisagreementError(
                f"after {samples} samples the rates and momenta of the processes differ: "
                f"{everyones[:, 1:].tolist()} by rank; they must run the same code"
            )
        mean_loss = float(np.mean(everyones[:, 0]))
        if not math.isfinite(mean_loss):
            raise self._diverged("the loss", mean_loss, samples)
        return mean_loss

    def _diverged(self, what: str, value: float, samples: int) -> FloatingPointError:
        return FloatingPointError(
            f"{what} is {value} after {samples} samples at lr={self._lr:g}: training diverged; lower lr_max"
        )
