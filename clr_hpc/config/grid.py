"""The grid of steps at which a run's validation loss is measured, to see when it reaches its baseline's best."""

from clr_hpc.config.run import RunSpec

POINTS_PER_EPOCH = 8
"""Fine enough to see waves of an epoch at foot, flank and peak; an epoch of fewer steps is measured at each."""
FEWEST_IMAGES, MOST_IMAGES = 64, 512
IMAGES_PER_TRAINED = 1 / 32
"""So a grid evaluates a quarter as many images as an epoch trains on, fewer in large packs, more in tiny ones."""


def is_measured_on_grid(spec: RunSpec) -> bool:
    """Say whether a run has a target on the grid, or is the baseline that sets one."""
    return spec.stage in ("baseline", "retrain", "control")


def grid_images(validation_images: int, training_images: int) -> int:
    """Return how many validation images are evaluated at each point; the same for all runs of a task."""
    wanted = min(max(int(training_images * IMAGES_PER_TRAINED), FEWEST_IMAGES), MOST_IMAGES)
    return min(wanted, validation_images)


def is_grid_step(step: int, steps_per_epoch: int) -> bool:
    """Say whether the loss is measured after ``step`` steps; points are spread evenly, each epoch's end is one."""
    return step * POINTS_PER_EPOCH // steps_per_epoch > (step - 1) * POINTS_PER_EPOCH // steps_per_epoch


def points_per_epoch(steps_per_epoch: int) -> int:
    """Return the number of points in an epoch."""
    return min(POINTS_PER_EPOCH, steps_per_epoch)
