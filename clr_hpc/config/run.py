"""One run as data: everything that decides its result, and an id made of that."""

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from clr_hpc.config.base import Also, FrozenSpec, GrownSpec, Seed, shown
from clr_hpc.config.network import Architecture, network
from clr_hpc.config.optimizer import Optimizer
from clr_hpc.config.policy import Policy, Ramp
from clr_hpc.config.task import Task

FRONTAL = ("AP", "PA")
"""The views that show a chest from the front or the back."""


class Augmentation(FrozenSpec):
    """Random transforms of a training image, drawn each time it is seen. All zero: none."""

    flip_probability: float = Field(default=0.0, ge=0, le=1)
    """Probability of being mirrored, which exchanges left and right: a film becomes that of another patient."""
    rotation_degrees: float = Field(default=7.0, ge=0, le=45)
    """Largest angle; drawn uniformly from ± this."""
    shift_fraction: float = Field(default=0.05, ge=0, le=0.5)
    """Share of the image's side; drawn uniformly from ± this along each axis."""
    scale_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Zoom; drawn uniformly from 1 ± this."""
    brightness_fraction: float = Field(default=0.1, ge=0, lt=1)
    """Factor on the pixels; drawn uniformly from 1 ± this."""


class Normalisation(FrozenSpec):
    """What a model sees is ``(pixel / 255 - mean) / std``."""

    mean: float = Field(default=0.5, ge=0, le=1)
    """Subtracted from pixels between 0 and 1."""
    std: PositiveFloat = 0.25
    """What the difference is divided by."""


class Initialisation(FrozenSpec):
    """The weights that training starts from."""

    weights: Literal["random", "imagenet"] = "random"
    """``imagenet``: those of the library that the network is from."""
    file: str | None = None
    """A state dict of the library's own model, for machines without a network; None: the library downloads."""

    @model_validator(mode="after")
    def _file_belongs_to_imagenet(self) -> "Initialisation":
        if self.file is not None and self.weights != "imagenet":
            raise ValueError(f"file={self.file!r} is used with weights: imagenet only; set that or drop the file")
        return self


class RateScaling(FrozenSpec):
    """Rates that grow with the batch: every rate is multiplied by its images / reference_batch_size.

    The linear scaling rule of Goyal et al. 2017 (arXiv:1706.02677).
    """

    rule: Literal["linear"] = "linear"
    """Rates grow in proportion to the batch."""
    reference_batch_size: PositiveInt
    """The batch size that the policy's rates are meant for."""


class Selection(FrozenSpec):
    """Which images of a pack are used, for training and for measuring."""

    view: Annotated[tuple[str, ...], Also(("frontal",))] = Field(min_length=1)
    """Views as the pack has them; in YAML ``frontal`` is AP and PA."""

    @field_validator("view", mode="before")
    @classmethod
    def _frontal_is_two(cls, value: Any) -> Any:
        if value == "frontal":
            return FRONTAL
        if not isinstance(value, list | tuple):
            raise ValueError(f"view={shown(value)} must be a list such as [PA, AP], or frontal")
        return tuple(sorted({str(view).upper() for view in value}))


class Training(GrownSpec):
    """How long and on what a model is trained: all that is neither task, model, optimizer nor policy."""

    later = ("rate_scaling", "measure_training_split_every", "training_accuracy_images", "select")

    epochs: PositiveInt
    """Passes over the training images, where a stage does not say."""
    batch_size: PositiveInt = 32
    """Images per step, over all processes of a run."""
    image_size: PositiveInt = 224
    """Pixels a side that the model sees; the pack's images are shrunk to it by area."""
    class_imbalance: Literal["none", "pos_weight", "balanced_sampling"] = "pos_weight"
    """How the loss or the sampling compensates for rare positives. ``pos_weight``: a positive weighs
    negatives / positives. ``balanced_sampling``: both are drawn equally often. ``none``: not at all."""
    augmentation: Augmentation = Augmentation()
    """Random transforms of training images."""
    normalisation: Normalisation = Normalisation()
    """How pixels become what a network sees."""
    initialisation: Initialisation = Initialisation()
    """The weights that training starts from."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Number format of the computation. ``bfloat16``: autocast; weights and optimizer stay float32."""
    early_stop_epochs: PositiveInt | None = None
    """Epochs without a lower validation loss after which a run stops; None: it never does."""
    measure_training_split_every: PositiveInt = 1
    """Epochs between measurements of the training split, which is measured after the last one, too. Validation is
    measured each epoch."""
    training_accuracy_images: PositiveInt | Literal["all"] = 4096
    """Images of the training split, at most, that are measured along the run: complete patients, the same in all
    runs of a task. ``all``: the whole split, as at the end of each run."""
    gradient_clip_norm: NonNegativeFloat = 0.0
    """Largest L2 norm of the gradient; 0 does not clip."""
    rate_scaling: RateScaling | None = None
    """Rates that grow with the batch; None: rates are taken as they are, whatever the batch size."""
    select: Selection | None = None
    """Which images of the pack are used; None: all."""

    @field_validator("training_accuracy_images", mode="before")
    @classmethod
    def _is_a_number_or_all(cls, value: Any) -> Any:
        if value != "all" and not (isinstance(value, int) and value > 0):
            raise ValueError(f"training_accuracy_images={shown(value)} must be a number of images, or all")
        return value

    def rate_scale(self, batch_size: int) -> float:
        """Return what every rate of the policy is multiplied by.

        Args:
            batch_size: the one in force, which is smaller than the field where there are fewer training images.
        """
        return 1.0 if self.rate_scaling is None else batch_size / self.rate_scaling.reference_batch_size


class Features(FrozenSpec):
    """A network with trained weights, whose features one-class methods are fitted to."""

    network: Architecture
    """Name of the network, such as ``timm/resnet18``."""
    weights: str | None = None
    """File with a state dict of the library's own network. Without it: ImageNet's, which the library downloads."""
    image_size: PositiveInt | None = None
    """Pixels a side that the network sees; without it ``training.image_size``."""
    normalisation: Normalisation | None = None
    """As the weights were trained with; without it ``training.normalisation``."""

    def applied_to(self, training: Training) -> Training:
        """Return what a fit to these features trains with."""
        own = {"image_size": self.image_size, "normalisation": self.normalisation}
        weights = Initialisation(weights="imagenet", file=self.weights)
        given = {name: value for name, value in own.items() if value is not None}
        return training.model_copy(update={"initialisation": weights, **given})


Stage = Literal["pretrain", "baseline", "retrain", "control", "scratch", "fit", "range_test"]
"""``pretrain``: features are learned without labels. ``baseline``: the first training with labels, with a decaying
rate. ``retrain``: starts from a baseline's weights, with another policy. ``control``: the same for as long with
the baseline's own policy, so that only the policy differs. ``scratch``: trained from the beginning, without a
sequel. ``fit``: no step is taken; a method is fitted to the features of a baseline's or a pretrained network.
``range_test``: the rate rises through a range, for the losses on the way; it comes to no model."""


class WarmStart(FrozenSpec):
    """The baseline, or the pretraining, whose weights a run starts from."""

    baseline: "RunSpec"
    weights: Literal["last", "best"] = "last"
    """``best``: those with the lowest validation loss."""
    optimizer: Literal["fresh", "continued"] = "fresh"
    """``continued``: with the momenta that the baseline ended with."""

    @model_validator(mode="after")
    def _momenta_belong_to_the_last_weights(self) -> "WarmStart":
        if self.optimizer == "continued" and self.weights == "best":
            raise ValueError("optimizer: continued needs weights: last, since momenta are kept for these alone")
        return self


class RunSpec(FrozenSpec):
    """One model trained once."""

    pack_checksum: str = Field(min_length=64, max_length=64)
    task: Task
    architecture: Architecture
    optimizer: Optimizer
    stage: Stage
    policy: Policy
    seed: Seed = 0
    training: Training
    start: WarmStart | None = None
    """The initial weights of a retrain, control or fit; they are part of the id."""

    @model_validator(mode="after")
    def _image_is_large_enough(self) -> "RunSpec":
        size, smallest = self.training.image_size, network(self.architecture).smallest_image_size
        if size < smallest:
            raise ValueError(
                f"image_size={size} is too small for {self.architecture}; raise it to {smallest} or more"
            )
        return self

    @model_validator(mode="after")
    def _optimizer_can_cycle_momentum(self) -> "RunSpec":
        if self.policy.cycles_momentum and not self.optimizer.cycles_momentum:
            raise ValueError(
                f"policy {self.policy.name} cycles momentum, which {self.optimizer.name} does not have; "
                "drop momentum_min and momentum_max or take another optimizer"
            )
        return self

    @model_validator(mode="after")
    def _stage_and_start_agree(self) -> "RunSpec":
        if self.start is None and self.stage == "fit" and self.training.initialisation.weights == "random":
            raise ValueError("stage=fit without a start needs a network with weights: set initialisation.weights")
        starts = self.stage in ("retrain", "control") or (self.stage == "fit" and self.start is not None)
        if (self.start is not None) != starts:
            raise ValueError(f"stage={self.stage} with start={self.start}: retrain, control and fit have a start")
        if self.is_fitted != (self.stage == "fit"):
            raise ValueError(
                f"stage={self.stage} does not suit {self.task.name}: methods on features have stage fit"
            )
        if isinstance(self.policy, Ramp) and self.stage != "range_test":
            raise ValueError(
                f"stage={self.stage} with policy ramp, which is for range tests alone; take one_cycle to warm up"
            )
        if (self.stage == "pretrain") != (self.task.kind == "pretraining"):
            raise ValueError(f"stage={self.stage} does not suit {self.task.name}: pretraining has stage pretrain")
        starting = ("baseline", "pretrain") if self.stage == "fit" else ("baseline",)
        if self.start is not None and self.start.baseline.stage not in starting:
            raise ValueError(
                f"stage={self.stage} starts from {' or '.join(starting)}, not from {self.start.baseline.stage}"
            )
        return self

    @property
    def is_fitted(self) -> bool:
        """Whether the task's method is fitted to features and takes no step."""
        return self.task.kind == "one_class" and self.task.method.is_fitted

    @property
    def weights_key(self) -> str:
        """The key of a study file that names the initial weights."""
        return "features.weights" if self.stage == "fit" and self.start is None else "training.initialisation.file"

    @property
    def network(self) -> str:
        """Name of the network that is trained: the architecture, unless the task's method has its own."""
        if self.task.kind == "one_class" and self.task.method.has_own_network:
            return self.task.method.name
        return self.architecture

    @cached_property
    def run_id(self) -> str:
        """Ten hexadecimal digits of the SHA-256 of the spec; equal specs, equal ids, on every machine.

        Computed once: a study of thousands of runs asks for it again and again.
        """
        canonical = json.dumps(self.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:10]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy with changes, which has an id of its own."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("run_id", None)
        return copied

    @property
    def setting(self) -> str:
        """The id that runs share which differ in their seeds alone."""
        spec = self.model_copy(update={"seed": 0})
        if self.start is not None:
            baseline = self.start.baseline.model_copy(update={"seed": 0})
            spec = spec.model_copy(update={"start": self.start.model_copy(update={"baseline": baseline})})
        return spec.run_id

    @property
    def name(self) -> str:
        """What people read in folders, TensorBoard and tables; ends in the id."""
        parts = (
            self.task.name,
            self.architecture.replace("/", "-"),
            self.optimizer.name,
            self.stage,
            self.policy.name,
        )
        return ".".join((*parts, f"seed{self.seed}", self.run_id))


WarmStart.model_rebuild()
