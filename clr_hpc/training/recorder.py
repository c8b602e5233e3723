"""Records of training steps in ``metrics.jsonl``, written without waiting for the device at each step."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.distributed import DisagreementError
from clr_hpc.training.round_robin import own_seconds
from clr_hpc.training.trainer import Trainer

RECORDS_PER_EPOCH = 20


@dataclass(frozen=True)
class _Due:
    """A record whose numbers may not have arrived from the device yet."""

    samples: int
    lr: float
    momentum: float | None
    steps: int
    loss_sum: Tensor
    gradient_norm: Tensor
    arrived: torch.cuda.Event | None


class StepRecorder:
    """Sums losses on the device and records their mean several times per epoch.

    A GPU that one process trains on would idle while the host waits for its numbers, so there a record may be
    written a step late, when the next step has been launched.
    """

    def __init__(
        self,
        trainer: Trainer,
        folder: RunFolder,
        already_elapsed: float,
        records_per_epoch: int = RECORDS_PER_EPOCH,
        may_be_late: bool = True,
    ) -> None:
        """Write to ``folder``, one record per step at most; ``already_elapsed``: seconds before resuming."""
        self._trainer, self._folder = trainer, folder
        self._is_late = may_be_late and trainer.device.type == "cuda" and trainer.group.size == 1
        self._due: _Due | None = None
        self._started = own_seconds() - already_elapsed
        self._record_every_samples = max(1, trainer.steps_per_epoch // records_per_epoch) * trainer.batch_size
        self.restart_window()

    @property
    def elapsed_seconds(self) -> float:
        """Seconds that the run has taken, including those before it was resumed."""
        return round(own_seconds() - self._started, 3)

    def restart_window(self) -> None:
        """Reset the sums; the time since the last record doesn't count as training time."""
        self._loss_sum: Tensor | None = None
        self._steps = 0
        self._window_started = own_seconds()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Write the record that is due; what the context takes doesn't count as training time."""
        self.write_due()
        began = own_seconds()
        yield
        self._window_started += own_seconds() - began

    def step(self, samples: int, loss: Tensor, lr: float, momentum: float | None) -> float | None:
        """Count a step that ended at ``samples`` samples seen.

        Returns:
            The mean loss over the steps of a record and all processes, if one was written; else None.

        Raises:
            FloatingPointError: the mean loss of a record, or the gradient, is not finite.
            DisagreementError: the processes have taken the step with different rates.
        """
        recorded = self.write_due()
        self._loss_sum = loss if self._loss_sum is None else self._loss_sum + loss
        self._steps += 1
        self._lr, self._momentum = lr, momentum
        if samples % self._record_every_samples:
            return recorded
        self._due = self._read(samples, self._loss_sum)
        self._loss_sum, self._steps = None, 0
        return recorded if self._is_late else self.write_due()

    def write_due(self) -> float | None:
        """Write the record that is due, if one is, and return its mean loss.

        Raises:
            FloatingPointError, DisagreementError: as ``step`` does.
        """
        due, self._due = self._due, None
        if due is None:
            return None
        if due.arrived is not None:
            due.arrived.synchronize()
        mean_loss = self._agreed_loss(due.samples, float(due.loss_sum) / due.steps, due.lr, due.momentum)
        gradient_norm = float(due.gradient_norm)
        if not math.isfinite(gradient_norm):
            raise _diverged("the gradient's norm", gradient_norm, due.samples, due.lr)
        now = own_seconds()
        if self._trainer.group.is_rank0:
            self._folder.record_step(
                due.samples,
                progress=self._trainer.epochs(due.samples),
                loss=mean_loss,
                lr=due.lr,
                momentum=due.momentum,
                gradient_norm=gradient_norm,
                images_per_second=round(due.steps * self._trainer.batch_size / (now - self._window_started), 1),
                elapsed_seconds=self.elapsed_seconds,
            )
        self._window_started = now
        return mean_loss

    def require_finite(self, samples: int) -> None:
        """Write the record that is due, and check the steps since.

        Raises:
            FloatingPointError: their mean loss, over all processes, is not finite.
            DisagreementError: the processes have taken the last step with different rates.
        """
        self.write_due()
        if self._loss_sum is not None:
            self._agreed_loss(samples, float(self._loss_sum) / self._steps, self._lr, self._momentum)

    def _read(self, samples: int, loss_sum: Tensor) -> _Due:
        norm = self._trainer.step.gradient_norm()
        if not self._is_late:
            return _Due(samples, self._lr, self._momentum, self._steps, loss_sum, norm, None)
        loss_sum, norm = (number.to("cpu", non_blocking=True) for number in (loss_sum, norm))
        arrived = torch.cuda.current_stream(self._trainer.device).record_event()
        return _Due(samples, self._lr, self._momentum, self._steps, loss_sum, norm, arrived)

    def _agreed_loss(self, samples: int, own_loss: float, lr: float, momentum: float | None) -> float:
        """Return the mean loss of all processes, which must have taken the step with the same rate."""
        everyones = np.array(self._trainer.group.all_gather([own_loss, lr, momentum or 0.0]))
        if (everyones[:, 1:] != everyones[0, 1:]).any():
            raise DisagreementError(
                f"after {samples} samples the rates and momenta of the processes differ: "
                f"{everyones[:, 1:].tolist()} by rank; they must run the same code"
            )
        mean_loss = float(np.mean(everyones[:, 0]))
        if not math.isfinite(mean_loss):
            raise _diverged("the loss", mean_loss, samples, lr)
        return mean_loss


def _diverged(what: str, value: float, samples: int, lr: float) -> FloatingPointError:
    return FloatingPointError(
        f"{what} is {value} after {samples} samples at lr={lr:g}: training diverged; lower lr_max"
    )
