"""The work of each run, counted from the study and its pack alone: nothing is opened or trained."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from clr_hpc.config.grid import grid_images, is_measured_on_grid, points_per_epoch
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import Autoencoder, DeepSvdd, PretrainingTask
from clr_hpc.data.manifest import Counts, LabelCounts
from clr_hpc.data.splits import SplitName

SNAPSHOTS_KEPT = 5
"""As many as ``clr_hpc.training.checkpoint`` keeps, which a login node without torch can't import."""


@dataclass(frozen=True, slots=True)
class StepKind:
    """What determines the throughput of a run."""

    network: str
    """The architecture; ``autoencoder`` for that method's own network."""
    image_size: int
    batch_size: int
    precision: str

    @property
    def text(self) -> str:
        """Displayed as ``densenet121, 224 px, batch 64, bfloat16``."""
        return f"{self.network}, {self.image_size} px, batch {self.batch_size}, {self.precision}"


@dataclass(frozen=True, slots=True)
class Load:
    """The work of a run. Many runs of a study have the same."""

    kind: StepKind
    epochs: int
    training_images: int
    """Images seen in training, over all epochs."""
    evaluated_images: int
    """Images evaluated at the ends of epochs and on the grid of steps."""
    final_images: int
    """Images evaluated after the last step, so that each model that the run ends with is, on all splits."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A run, for planning."""

    name: str
    load: Load
    after: str | None = None
    """The baseline whose end it waits for."""
    stage: str = "scratch"


def work_of(runs: Iterable[RunSpec], counts: Counts) -> tuple[WorkItem, ...]:
    """Return the work of each run on a pack that holds ``counts``.

    A run that stops early does less than this. Fitting a detector to features is not counted, the passes over the
    images for it are.
    """
    return tuple(
        WorkItem(spec.name, _load(spec, counts), spec.start.baseline.name if spec.start else None, spec.stage)
        for spec in runs
    )


def _load(spec: RunSpec, counts: Counts) -> Load:
    known = {split: known_images(spec, counts, split) for split in counts.splits}
    learned = _images_with_loss(spec, counts, "train")
    training = spec.training
    kind = StepKind(spec.network, training.image_size, training.batch_size, training.precision)
    if spec.is_fitted:
        return Load(kind, 0, 0, 0, sum(known.values()) + learned)
    batch = min(training.batch_size, learned) or 1
    if isinstance(spec.task, PretrainingTask):
        batch = max(spec.task.views, batch // spec.task.views * spec.task.views)
    steps_per_epoch = learned // batch
    pretraining_epochs, passes = _before_the_first_step(spec)
    comes_to_a_model = spec.stage != "range_test"
    on_the_way = known.get("train", 0) + known.get("validation", 0)
    if _fits_scores(spec):
        passes += comes_to_a_model * training.epochs
    evaluated = _training_measured(spec, known.get("train", 0)) + training.epochs * known.get("validation", 0)
    on_grid = _on_grid(spec, counts, learned, steps_per_epoch)
    return Load(
        kind=kind,
        epochs=training.epochs,
        training_images=steps_per_epoch * batch * training.epochs + learned * pretraining_epochs,
        evaluated_images=comes_to_a_model * evaluated + learned * passes + on_grid,
        final_images=comes_to_a_model * _final_images(spec, on_the_way, sum(known.values()), learned),
    )


def _training_measured(spec: RunSpec, images: int) -> int:
    """Count the images of the training split that are evaluated along a run; a sample is a little smaller."""
    training = spec.training
    if _has_a_boundary_that_moves(spec):
        return training.epochs * images
    wanted = training.training_accuracy_images
    sample = images if wanted == "all" else min(images, wanted)
    return (math.ceil(training.epochs / training.measure_training_split_every) - 1) * sample + images


def _on_grid(spec: RunSpec, counts: Counts, learned: int, steps_per_epoch: int) -> int:
    """Count the images evaluated on the grid of steps, and at the beginning where there is a target."""
    if not is_measured_on_grid(spec):
        return 0
    images = grid_images(_images_with_loss(spec, counts, "validation"), learned)
    return images * (points_per_epoch(steps_per_epoch or 1) * spec.training.epochs + (spec.start is not None))


def _before_the_first_step(spec: RunSpec) -> tuple[int, int]:
    """Return the epochs of pretraining, and the passes over the training images that only look at them."""
    if spec.task.kind == "one_class" and isinstance(spec.task.method, DeepSvdd):
        return spec.task.method.pretraining_epochs, 1
    return 0, 0


def _has_a_boundary_that_moves(spec: RunSpec) -> bool:
    """Say whether the model learns from its scores of the training images after each epoch."""
    method = spec.task.method if spec.task.kind == "one_class" else None
    return isinstance(method, DeepSvdd) and method.boundary == "soft"


def _fits_scores(spec: RunSpec) -> bool:
    """Say whether scores need a pass over the training images after each epoch."""
    method = spec.task.method if spec.task.kind == "one_class" else None
    return isinstance(method, Autoencoder) and method.normalised


def _images_with_loss(spec: RunSpec, counts: Counts, split: SplitName) -> int:
    """Return the images of a split that have a loss in the run's task: to one-class models, those of the class."""
    if spec.task.kind == "one_class" and split in counts.splits:
        return _labelled(spec, counts, split).positive
    return known_images(spec, counts, split)


def known_images(spec: RunSpec, counts: Counts, split: SplitName) -> int:
    """Return the images of a split whose label in the run's task is known."""
    if split not in counts.splits:
        return 0
    if isinstance(spec.task, PretrainingTask):
        return counts.splits[split].of(spec.training.select).images
    images = _labelled(spec, counts, split)
    return images.positive + images.negative


def _labelled(spec: RunSpec, counts: Counts, split: SplitName) -> LabelCounts:
    assert not isinstance(spec.task, PretrainingTask)
    return counts.splits[split].of(spec.training.select).labels[spec.task.label]


def snapshots_kept(spec: RunSpec) -> int:
    """Return how many snapshots a run ends with."""
    return 0 if spec.is_fitted else min(int(_cycles(spec)), SNAPSHOTS_KEPT)


def final_models(spec: RunSpec) -> int:
    """Return how many models a run ends with: the last weights and, of two cycles, the ensemble and the mean."""
    return 3 if snapshots_kept(spec) >= 2 else 1


def _cycles(spec: RunSpec) -> float:
    cycle_epochs = spec.policy.cycle_epochs
    return 0.0 if cycle_epochs is None else spec.training.epochs / cycle_epochs + 1e-9


def _final_images(spec: RunSpec, on_the_way: int, all_images: int, learned: int) -> int:
    """Count what is evaluated after the last step, where ``on_the_way`` images are at the end of each epoch."""
    # the last epoch's evaluation is that of the model, unless its boundary moves after it
    last_model = all_images if _has_a_boundary_that_moves(spec) else all_images - on_the_way
    kept = snapshots_kept(spec)
    if kept < 2:
        return last_model
    ends_with_a_cycle = _cycles(spec) % 1 < 1e-6
    # each snapshot but one that is the last model; and the averaged weights, after passes over the training images
    return last_model + all_images * (kept - ends_with_a_cycle + 1) + learned * (1 + _fits_scores(spec))
