"""The largest batch that the memory takes, found by probing in a process of its own and not by a trial that fails.

Sizes double until one doesn't fit; then the interval between is halved a few times. A probe builds the run's
network and takes two real steps. On a GPU the device says when it is full. On a CPU what the probe takes is
compared with its share of the memory that is free, before a larger one would exceed it: there the kernel says so
by killing.
"""

from collections.abc import Callable
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.config.tune import UpToWhatFits
from clr_hpc.config.tuned_study import trial_runs
from clr_hpc.places.local.place import Processes
from clr_hpc.tuning.batch_probe import BatchProbe
from clr_hpc.tuning.dimensions import dimensions_of

HALVINGS = 2
"""Of the last doubling: the largest batch is found to a quarter of it."""


class NothingFitsError(Exception):
    """Not even the smallest batch size fits."""


def batch_sizes_that_fit(
    study: Study, pack_checksum: str, sharing: Processes, say: Callable[[str], None]
) -> tuple[int, ...]:
    """Return ``low``, its doublings and the largest batch size that fits; empty where the space asks for none.

    Raises:
        NothingFitsError: ``low`` doesn't fit.
    """
    assert study.tune is not None
    wanted = study.tune.space.batch_size
    if not isinstance(wanted, UpToWhatFits):
        return ()
    others = dimensions_of(study.tune.space, (wanted.low,))
    values = {name: dimension.grid()[0] for name, dimension in others.items()}

    def spec_of(batch_size: int) -> RunSpec:
        return trial_runs(study, values | {"batch_size": batch_size}, pack_checksum)[0]

    probe = BatchProbe(Path(study.pack), sharing)
    most = probe.training_images(spec_of(wanted.low))
    sizes = search_largest(wanted.low, most, lambda batch_size: probe.fits(spec_of(batch_size)))
    if not sizes:
        raise NothingFitsError(
            f"not even batch_size={wanted.low} fits into memory; lower low, image_size or --processes"
        )
    say(f"batch sizes that fit: {', '.join(map(str, sizes))}")
    return sizes


def search_largest(low: int, most: int, fits: Callable[[int], bool]) -> tuple[int, ...]:
    """Return ``low`` and its doublings as far as they fit, and last the largest size found between.

    Args:
        low: the first size.
        most: the last that makes sense: one batch of all images.
        fits: tries a size; what is larger than one that doesn't fit is not tried.
    """
    sizes: list[int] = []
    size = low
    while size <= most and fits(size):
        sizes.append(size)
        size *= 2
    if not sizes:
        return ()
    fitting, too_large = sizes[-1], min(size, most + 1)
    for _ in range(HALVINGS):
        middle = (fitting + too_large) // 2
        if middle <= fitting:
            break
        if fits(middle):
            fitting = middle
        else:
            too_large = middle
    return (*sizes, fitting) if fitting > sizes[-1] else tuple(sizes)
