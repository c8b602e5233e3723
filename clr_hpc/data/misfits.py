"""What keeps runs from being trained on a pack, as far as its manifest tells before anything starts."""

from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from clr_hpc.config.base import MOST_MISTAKES, UserError, unknown
from clr_hpc.config.given_file import FileError, check_readable
from clr_hpc.config.network import network, no_weights
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import BinaryTask, PretrainingTask, PyodDetector, Task
from clr_hpc.data.manifest import Manifest

LEAST_PATIENTS = 5
"""Of a class that a method on features is fitted to: its threshold is cross-fitted over patients."""


class MisfitError(UserError):
    """Runs can't be trained on a pack; the message gives every reason once."""


def check_fit(runs: Iterable[RunSpec], pack: Manifest) -> None:
    """See that a pack has what runs need, and that their initial weights are there.

    Raises:
        MisfitError: it hasn't, or they aren't.
    """
    found: dict[str, None] = {}
    for spec in runs:
        for each in (spec, *([] if spec.start is None else [spec.start.baseline])):
            found.update(dict.fromkeys(_misfits(each, pack)))
    if found:
        shown = list(found)[:MOST_MISTAKES]
        more = [f"and {len(found) - len(shown):,} more"] if len(found) > len(shown) else []
        raise MisfitError("; ".join([*shown, *more]))


def _misfits(spec: RunSpec, pack: Manifest) -> Iterator[str]:
    training = spec.training
    if (small := too_small(spec, pack)) is not None:
        yield small
    yield from _views_missing(spec, pack)
    split = pack.counts.splits.get("train")
    yield from _weights_missing(spec)
    if isinstance(spec.task, PretrainingTask):
        images = 0 if split is None else split.of(training.select).images
        if (lack := lack_of_images(spec.task, images, 0)) is not None:
            yield lack
        return
    label = spec.task.pathology if isinstance(spec.task, BinaryTask) else spec.task.normal
    labels = {} if split is None else split.of(training.select).labels
    if label not in labels:
        known = unknown("label", label, list(labels)).removeprefix("unknown ")
        yield f"no training image of the pack has this {known}"
        return
    counts = labels[label]
    if (lack := lack_of_images(spec.task, counts.positive, counts.negative)) is not None:
        yield lack
    takes_steps = spec.network == spec.architecture and not spec.is_fitted
    least = network(spec.architecture).smallest_image_size_of_one if takes_steps else 0
    if training.batch_size == 1 and training.image_size < least:
        yield (
            f"batch_size=1: batch norm of {spec.architecture} needs two images or more at "
            f"image_size={training.image_size}; raise batch_size to 2, or image_size to {least}"
        )
    method = spec.task.method if spec.task.kind == "one_class" else None
    if isinstance(method, PyodDetector) and find_spec("pyod") is None:
        yield f"pyod/{method.detector} needs pyod, which is not installed; install it: pip install 'clr-hpc[pyod]'"


def too_small(spec: RunSpec, pack: Manifest) -> str | None:
    """Return why a pack's images are too small for a run; None where they aren't."""
    if pack.size >= spec.training.image_size:
        return None
    return (
        f"image_size={spec.training.image_size} is larger than the pack's {pack.size} pixels; "
        "lower image_size or pack the source again with a larger --size"
    )


def lack_of_images(task: Task, positive: int, negative: int) -> str | None:
    """Return what a task lacks to be learned; None where nothing is known to.

    Args:
        task: that is to be learned.
        positive: training images with the task's label.
        negative: training images that are known to be without it.
    """
    if isinstance(task, BinaryTask):
        for word, images in (("with", positive), ("without", negative)):
            if not images:
                return (
                    f"no training image {word} {task.pathology} among {positive + negative}; "
                    "leave this pathology out of the study or pack more images"
                )
        return None
    if isinstance(task, PretrainingTask):
        images = positive + negative
        few = f"{images} training images; {task.name} needs two or more: pack more images or select more of them"
        return few if images < 2 else None
    if positive < 2:
        return (
            f"{positive} training images of {task.normal}; a one-class model needs two or more: "
            "choose another class or pack more images"
        )
    if task.method.is_fitted and positive < LEAST_PATIENTS:
        return (
            f"{positive} training images of {task.normal}: {task.method.name} needs images of {LEAST_PATIENTS} "
            "patients or more; choose another class or pack more images"
        )
    return None


def _views_missing(spec: RunSpec, pack: Manifest) -> Iterator[str]:
    if spec.training.select is None:
        return
    views = sorted({view for split in pack.counts.splits.values() for view in split.views})
    if not views:
        yield f"select: this pack, of format version {pack.format_version}, does not count its views; pack again"
    for view in spec.training.select.view:
        if views and view not in views:
            yield unknown("view", view, views) + " (the views of this pack)"


def _weights_missing(spec: RunSpec) -> Iterator[str]:
    initialisation = spec.training.initialisation
    if initialisation.file is not None:
        try:
            check_readable(Path(initialisation.file).expanduser())
        except FileError as error:
            yield f"{spec.weights_key}={initialisation.file}: {error}"
    elif initialisation.weights == "imagenet" and network(spec.architecture).imagenet is None:
        yield no_weights(spec.architecture)
