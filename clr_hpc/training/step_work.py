"""What a training step asks of a device: floating-point operations, and bytes to and from memory."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode, conv_flop_count


@dataclass(frozen=True)
class StepWork:
    """The least that a step has to do."""

    flops: int
    """Of matrix products and convolutions, forward and backward; a multiplication and an addition are two."""
    parameter_bytes: int
    """Of the weights. Their gradients take as many."""
    optimizer_bytes: int
    """Of the optimizer's state."""
    activation_bytes: int
    """Of what the forward pass keeps for the backward pass, inputs included."""

    @property
    def bytes_moved(self) -> int:
        """Estimated bytes to and from memory, if each thing is moved as seldom as it can be.

        Weights are read forward, backward and for the update, and written once; gradients are written and read;
        the optimizer's state is read and written; what is kept for the backward pass is written and read.
        """
        return 6 * self.parameter_bytes + 2 * self.optimizer_bytes + 2 * self.activation_bytes


def step_work(model: nn.Module, optimizer: torch.optim.Optimizer, loss: Callable[[], Tensor]) -> StepWork:
    """Count the work of a step.

    Args:
        model: after a step.
        optimizer: of its parameters, after a step.
        loss: runs the forward pass on a batch; the gradients of ``model`` are lost.
    """
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with FlopCounterMode(
        display=False, custom_mapping={torch.ops.aten.convolution_backward: _backward}
    ) as counter:
        with saved_tensors_hooks(keep, lambda tensor: tensor):
            value = loss()
        value.backward()  # type: ignore[no-untyped-call]
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers())}
    state = (value for each in optimizer.state.values() for value in each.values() if isinstance(value, Tensor))
    return StepWork(
        flops=counter.get_total_flops(),
        parameter_bytes=_bytes(model.parameters()),
        optimizer_bytes=_bytes(state),
        activation_bytes=sum(size for place, size in kept.items() if place not in own),
    )


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def _backward(
    output: list[int],
    images: list[int],
    weights: list[int],
    _bias: Any,
    _stride: Any,
    _padding: Any,
    _dilation: Any,
    transposed: bool,
    _output_padding: Any,
    _groups: int,
    wanted: list[bool],
    **_: Any,
) -> int:
    """Count a convolution's backward pass: each of its two gradients takes what the forward pass takes.

    torch's own formula leaves the groups out of the weights' gradient, and counts a depthwise convolution several
    times over.
    """
    return sum(wanted[:2]) * int(conv_flop_count(images, weights, output, transposed))
