"""What methods on features share: a frozen network, folds over patients, and a state without pickle."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clr_hpc.models.backbones import without_last_layer
from clr_hpc.models.feature_map import modules_at_strides
from clr_hpc.models.one_class.base import OneClassModel, learn_batch_statistics

FOLDS = 5


class FittedModel(OneClassModel):
    """A network that is trained already and stays as it is, and what ``prepare`` fits to its features.

    All that was fitted lies in buffers, whose shapes a loaded state decides.
    """

    takes_steps: ClassVar[bool] = False
    fitted_buffers: ClassVar[tuple[str, ...]] = ("cross_fitted",)
    cross_fitted: Tensor

    def __init__(self, backbone: nn.Module, strides: Iterable[int] | None, seed: int, is_trained: bool) -> None:
        """Take a backbone, whose last layer is dropped and whose weights are kept as they are.

        Args:
            backbone: with a linear last layer.
            strides: of the feature maps that are looked at; None: none, but the inputs of the last layer.
            seed: of all that is drawn.
            is_trained: False: the weights are random, and batch norm has yet to learn the scale of its inputs.

        Raises:
            NoFeatureMapError: the network has no map of one of these strides.
        """
        super().__init__()
        self.backbone = without_last_layer(backbone).requires_grad_(False)
        self.eval()
        self._layers = None if strides is None else modules_at_strides(self.backbone, tuple(strides))
        self._seed, self._is_trained = seed, is_trained
        for name in self.fitted_buffers:
            self.register_buffer(name, torch.empty(0))

    def train(self, mode: bool = True) -> "FittedModel":  # noqa: ARG002
        """Stay in evaluation mode: nothing here may change with a batch."""
        super().train(False)
        return self

    def start_from(self, weights: dict[str, Tensor]) -> None:
        """Take the backbone of a trained model, such as a binary classifier; its last layer has no part here."""
        own = self.backbone.state_dict()
        self.backbone.load_state_dict({name: weights[f"backbone.{name}"] for name in own})
        self._is_trained = True

    def maps(self, images: Tensor) -> list[Tensor]:
        """Return the feature maps ``(B, C, H, W)`` of images ``(B, 1, H, W)``, one for each stride, in float32."""
        assert self._layers is not None
        found: dict[str, Tensor] = {}
        with _outputs_of(self.backbone, self._layers, found):
            self.backbone(images)
        return [found[name].float() for name in self._layers]

    @property
    def held_out_training_scores(self) -> Tensor | None:
        """Scores ``(N,)`` by what was fitted to other patients' images; None before ``prepare``."""
        return self.cross_fitted if len(self.cross_fitted) else None

    @property
    def channels_of_maps(self) -> int:
        """Of all feature maps together."""
        parameter = next(self.backbone.parameters())
        with torch.no_grad():
            maps = self.maps(parameter.new_zeros(1, 1, 224, 224))
        return sum(each.shape[1] for each in maps)

    def _learn_batch_statistics(self, batches: Iterable[Tensor]) -> None:
        if not self._is_trained:
            learn_batch_statistics(self.backbone, batches)
            self.eval()


def folds_of(patients: NDArray[np.int64], method: str) -> NDArray[np.int64]:
    """Return the fold ``(N,)`` of each image, from 0 to ``FOLDS`` - 1; images of a patient share one.

    A detector's scores of its own training images are too low (a nearest neighbour is the image itself), and so
    would be a threshold made of them.

    Raises:
        ValueError: there are fewer patients than folds.
    """
    from sklearn.model_selection import GroupKFold

    distinct = len(np.unique(patients))
    if distinct < FOLDS:
        raise ValueError(
            f"{len(patients)} training images of {distinct} patients: {method} needs images of {FOLDS} patients "
            "or more; pack more images or leave this class out"
        )
    folds = np.empty(len(patients), np.int64)
    for number, (_, held_out) in enumerate(GroupKFold(FOLDS).split(patients, groups=patients)):
        folds[held_out] = number
    return folds


@contextmanager
def _outputs_of(network: nn.Module, names: Iterable[str], found: dict[str, Tensor]) -> Iterator[None]:
    hooks = [
        network.get_submodule(name).register_forward_hook(
            lambda _, __, output, name=name: found.__setitem__(name, output)
        )
        for name in names
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
