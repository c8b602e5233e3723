"""Layers with which a batch in parts, over processes or one after the other, gives the results of one batch.

They are in a copy of the network that shares every tensor with it and that training steps go through. Nothing of
it is saved: checkpoints don't depend on the number of processes or micro-batches.
"""

import copy
import inspect
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import batch_norm, dropout
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel


@dataclass
class Part:
    """The images of the global batch that the next forward pass sees."""

    images: slice
    batch_size: int
    """Images of the global batch."""


def sharing_copy(network: nn.Module, part: Part, processes: int) -> nn.Module:
    """Return a copy in training mode, with the same parameters and buffers, that sees parts of a global batch.

    Args:
        network: on its device, with any weights.
        part: kept, and read at every forward pass; the caller sets it.
        processes: of the default process group. Among several, batch norm takes its statistics over all of them.
    """
    shared = {id(tensor): tensor for tensor in (*network.parameters(), *network.buffers())}
    copied = copy.deepcopy(network, cast(dict[int, Any], shared)).train()
    for name, module in list(copied.named_modules()):
        if isinstance(module, nn.Dropout) and module.p > 0:
            copied.set_submodule(name, SlicedDropout(module.p, part))
        elif isinstance(module, _BatchNorm) and processes > 1:
            copied.set_submodule(name, _shared_batch_norm(module))
    return copied


def averaging_gradients(network: nn.Module) -> DistributedDataParallel:
    """Wrap a network that is the same in all processes, so that they average the gradients of its parameters."""
    device = next(network.parameters()).device
    # buffers are the same everywhere without being sent; the option for that was renamed in torch 2.15
    known = inspect.signature(DistributedDataParallel.__init__).parameters
    sends_buffers = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
    # gradients lie in the buffers that are sent: no copy of them, which saves AlexNet 8 % of a step over gloo
    options: dict[str, Any] = {sends_buffers: False, "init_sync": False, "gradient_as_bucket_view": True}
    if device.type == "cuda":
        options["device_ids"] = [device]
    return DistributedDataParallel(network, **options)


class SlicedDropout(nn.Module):
    """Draws the mask of the global batch and uses its own images' part, so an image's mask is always the same."""

    def __init__(self, probability: float, part: Part) -> None:
        """Drop with ``probability``; ``part`` is read at every pass."""
        super().__init__()
        self._probability, self._part = probability, part

    def forward(self, features: Tensor) -> Tensor:
        """Map features ``(B, ...)`` of the part's images to the same with some set to zero."""
        everything = features.new_ones(self._part.batch_size, *features.shape[1:])
        return features * dropout(everything, self._probability)[self._part.images]


def _shared_batch_norm(norm: _BatchNorm) -> nn.Module:
    shared: nn.Module
    if norm.weight.is_cuda:
        shared = nn.SyncBatchNorm(norm.num_features, norm.eps, norm.momentum)
        shared.weight, shared.bias = norm.weight, norm.bias
        shared.running_mean, shared.running_var = norm.running_mean, norm.running_var
        shared.num_batches_tracked = norm.num_batches_tracked
    else:
        shared = HostSyncBatchNorm(norm)
    # timm's batch norms are followed by a dropout and an activation of their own
    own = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]
    return nn.Sequential(shared, *own)


class HostSyncBatchNorm(nn.Module):
    """Batch norm over all processes on the CPU, which torch's ``SyncBatchNorm`` does not support.

    The statistics are those of all images of all processes, of which each has one at least (Chan, Golub & LeVeque
    1983).
    """

    def __init__(self, norm: _BatchNorm) -> None:
        """Take the tensors of a batch norm with weight, bias and running statistics."""
        super().__init__()
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        """Normalise ``(B, C, ...)`` by the means and variances of the global batch, and count them as running."""
        norm = self.norm
        mean, variance, count = _global_statistics(features)
        with torch.no_grad():
            assert norm.running_mean is not None
            assert norm.running_var is not None
            assert norm.num_batches_tracked is not None
            norm.num_batches_tracked.add_(1)
            share = 1 / float(norm.num_batches_tracked) if norm.momentum is None else norm.momentum
            norm.running_mean.lerp_(mean, share)
            norm.running_var.lerp_(variance * (count / (count - 1)), share)
        return cast(
            Tensor,
            _Normalise.apply(features, norm.weight, norm.bias, mean, variance, count, norm.eps),
        )


@torch.no_grad()
def _global_statistics(features: Tensor) -> tuple[Tensor, Tensor, int]:
    """Return mean ``(C,)``, variance ``(C,)`` and number of values a channel, over all processes.

    Raises:
        ValueError: there is a single value a channel, whose variance says nothing.
    """
    channels = features.shape[1]
    count = features.numel() // channels
    # batch norm's own kernel: torch.var_mean takes ten times as long where channels are last
    mean, variance = torch.batch_norm_update_stats(_at_least_float(features), None, None, 0.0)
    own = torch.cat([mean.double(), variance.double(), mean.new_tensor([count], dtype=torch.float64)])
    everyones = _from_all(own)
    means, variances, counts = everyones[:, :channels], everyones[:, channels:-1], everyones[:, -1:]
    total = counts.sum()
    if total < 2:
        raise ValueError(f"batch norm needs two values a channel; got {tuple(features.shape)}: raise batch_size")
    global_mean = (means * counts).sum(dim=0) / total
    global_variance = ((variances + (means - global_mean).square()) * counts).sum(dim=0) / total
    return global_mean.to(mean.dtype), global_variance.to(mean.dtype), int(total)


def _from_all(own: Tensor) -> Tensor:
    """Return the vectors ``(N,)`` of all processes as ``(processes, N)``, the same in each.

    Sums are made from these too: gloo's all-reduce goes around twice and took 2 to 8 times as long.
    """
    everyones = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(everyones, own)
    return torch.stack(everyones)


def _at_least_float(features: Tensor) -> Tensor:
    """Return half precision, as autocast gives it, in single precision."""
    return features.float() if features.dtype.itemsize < 4 else features


class _Normalise(torch.autograd.Function):
    """Batch norm with given statistics that were taken from its inputs, in all processes."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        variance: Tensor,
        count: int,
        epsilon: float,
    ) -> Tensor:
        ctx.save_for_backward(features, weight, mean, variance)
        ctx.count, ctx.epsilon = count, epsilon
        return batch_norm(features, mean, variance, weight, bias, training=False, eps=epsilon)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Derive by equations of Ioffe & Szegedy 2015 (arXiv:1502.03167), with the sums over all processes."""
        features, weight, mean, variance = ctx.saved_tensors
        inputs = _at_least_float(features)
        # as if the statistics were constants ...
        of_inputs, of_weight, of_bias = torch.ops.aten.native_batch_norm_backward(
            _at_least_float(gradients[0]),
            inputs,
            weight,
            mean,
            variance,
            None,
            None,
            False,
            ctx.epsilon,
            [True] * 3,
        )
        # ... and the rest, which is linear in the inputs of each channel
        means = _from_all(torch.cat([of_bias, of_weight]).double()).sum(dim=0) / ctx.count
        mean_of_bias, mean_of_weight = means.to(inputs.dtype).view(2, -1)
        inverse_deviation = (variance + ctx.epsilon).rsqrt()
        slope = -weight * inverse_deviation.square() * mean_of_weight
        offset = -weight * inverse_deviation * mean_of_bias - slope * mean
        shape = [1, -1] + [1] * (features.dim() - 2)
        of_inputs.add_(torch.addcmul(offset.view(shape), inputs, slope.view(shape)))
        return of_inputs.to(features.dtype), of_weight, of_bias, None, None, None, None
