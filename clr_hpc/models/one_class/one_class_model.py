"""What all one-class models share: only images of the one class have a loss."""

from torch import Tensor

from clr_hpc.models.task_model import TaskModel


class OneClassModel(TaskModel):
    """Labels are 0 for the one class and 1 for the rest."""

    def has_loss(self, labels: Tensor) -> Tensor:
        """Leave anomalies out: a model that fits them better is no better."""
        return labels == 0

    def losses(self, outputs: Tensor, images: Tensor, labels: Tensor) -> Tensor:  # noqa: ARG002
        """Return the scores ``(B,)``: to learn the class is to make its images little anomalous."""
        return self.scores(outputs, images)
