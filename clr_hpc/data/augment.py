"""From a pack's pixels to what a model sees: float, shrunk, augmented, normalised, on the device."""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

from clr_hpc.config.run import Augmentation, Normalisation


def prepare(
    pixels: Tensor, image_size: int, normalisation: Normalisation, transforms: Tensor | None = None
) -> Tensor:
    """Turn pixels ``(B, S, S)`` uint8 into a model's input ``(B, 1, image_size, image_size)`` float32.

    Args:
        pixels: on the device where the work is to be done.
        image_size: pixels a side; S is shrunk to it by averaging areas.
        normalisation: what is subtracted and divided by, in units of full white.
        transforms: parameters from ``draw_transforms``; None: no transform.
    """
    images = pixels.unsqueeze(1).float()
    if pixels.shape[-1] != image_size:
        images = interpolate(images, size=(image_size, image_size), mode="area")
    scale, offset = 1 / (255 * normalisation.std), -normalisation.mean / normalisation.std
    if transforms is None:
        return images.mul_(scale).add_(offset)
    transforms = transforms.to(images.device, non_blocking=True)
    grid = _sampling_grid(transforms[:, :6].reshape(-1, 2, 3), image_size)
    images = grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return images.mul_(transforms[:, 6].mul(scale).reshape(-1, 1, 1, 1)).add_(offset)


def _sampling_grid(matrices: Tensor, side: int) -> Tensor:
    """Return where each output pixel is read, ``(B, side, side, 2)``, for matrices ``(B, 2, 3)``.

    The same as torch's ``affine_grid``, which multiplies matrices at every pixel, with one addition per pixel.
    """
    centres = (2 * torch.arange(side, device=matrices.device) + 1) / side - 1
    of_column, of_row, constant = matrices.unbind(dim=2)
    along_rows = centres[None, :, None] * of_row[:, None] + constant[:, None]
    along_columns = centres[None, :, None] * of_column[:, None]
    return along_rows[:, :, None] + along_columns[:, None]


def draw_transforms(augmentation: Augmentation, batch_size: int, generator: np.random.Generator) -> Tensor | None:
    """Draw the random transform of each image.

    Returns:
        ``(B, 7)`` float32: the 2 × 3 matrix from output to input coordinates in [-1, 1] (as torch's
        ``affine_grid`` takes it), row by row, and the brightness factor; or None when the augmentation changes
        nothing.
    """
    if augmentation == _NOTHING:
        return None
    uniform = generator.random((batch_size, 6)).astype(np.float32)
    flip = np.where(uniform[:, 0] < augmentation.flip_probability, np.float32(-1), np.float32(1))
    signed = 2 * uniform[:, 1:] - 1
    angle = signed[:, 0] * math.radians(augmentation.rotation_degrees)
    zoom = 1 + signed[:, 1] * augmentation.scale_fraction
    cosine, sine = np.cos(angle) / zoom, np.sin(angle) / zoom
    # a shift by a fraction of the side is twice that in coordinates that run from -1 to 1
    shift_x, shift_y = (
        2 * augmentation.shift_fraction * signed[:, 2],
        2 * augmentation.shift_fraction * signed[:, 3],
    )
    brightness = 1 + signed[:, 4] * augmentation.brightness_fraction
    columns = (flip * cosine, -flip * sine, shift_x, sine, cosine, shift_y, brightness)
    return torch.from_numpy(np.stack(columns, axis=1).astype(np.float32))


_NOTHING = Augmentation(
    flip_probability=0, rotation_degrees=0, shift_fraction=0, scale_fraction=0, brightness_fraction=0
)
