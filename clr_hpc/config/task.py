"""What one model learns, as data: a finding or not, or what one class of images looks like."""

from typing import Annotated, ClassVar, Literal

from pydantic import (
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    field_validator,
    model_validator,
)

from clr_hpc.config.base import FrozenSpec, GrownSpec, by_name
from clr_hpc.config.pathologies import NO_FINDING, checked_finding, parse_finding

Objective = Literal["simsiam"]
"""``simsiam``: two views of an image have similar features (Chen & He 2021)."""
Nu = Annotated[float, Field(gt=0, le=1)]
Stride = Literal[2, 4, 8, 16, 32]
Strides = Annotated[tuple[Stride, ...], Field(min_length=1)]
"""Of feature maps: how many pixels of the image one of their places spans along each axis."""


class _Method(FrozenSpec):
    title: ClassVar[str]
    """Name in reports."""
    is_fitted: ClassVar[bool] = False
    """Whether it is fitted to the features of a trained network and takes no step."""
    has_own_network: ClassVar[bool] = False
    """Whether it trains a network of its own, whatever the architecture."""

    @property
    def label(self) -> str:
        """What names it in folders and tables of scores."""
        return str(self.name)  # type: ignore[attr-defined]


class DeepSvdd(_Method, GrownSpec):
    """A network that maps the one class close to a point (Ruff et al. 2018)."""

    title = "Deep SVDD"
    later = ("batch_norm_scale",)

    name: Literal["deep_svdd"] = "deep_svdd"
    boundary: Literal["hard", "soft"] = "hard"
    """``soft``: images within a radius cost nothing more; the radius is learned."""
    nu: Nu = 0.1
    """Soft boundary only: the share of training images outside the radius."""
    outputs: PositiveInt = 32
    """Dimensions of the space in which the distance is measured."""
    pretraining_epochs: NonNegativeInt = 0
    """Epochs of training the network as an autoencoder's encoder first."""
    batch_norm_scale: Literal["trained", "fixed"] = "trained"
    """``fixed``: batch norm has no weights at all, as in the authors' code. It never has an offset."""

    @model_validator(mode="after")
    def _nu_belongs_to_the_soft_boundary(self) -> "DeepSvdd":
        if self.boundary == "hard" and self.nu != DeepSvdd.model_fields["nu"].default:
            raise ValueError(f"nu={self.nu:g} is used with boundary: soft only; set that or drop nu")
        return self


class Autoencoder(_Method, GrownSpec):
    """A convolutional autoencoder, which reconstructs the one class better than what it never saw."""

    title = "Autoencoder"
    has_own_network = True
    later = ("residual", "normalised")

    name: Literal["autoencoder"] = "autoencoder"
    code_channels: PositiveInt = 16
    """Channels of the narrowest layer, whose sides are 1/16 of the image's."""
    residual: Literal["squared", "ssim"] = "squared"
    """What a reconstruction leaves out at a pixel, which is the loss: the squared error, or 1 − SSIM."""
    normalised: bool = False
    """Whether scores divide the residual at each place by that of the training images there."""


class _EmbeddingMethod(_Method, GrownSpec):
    is_fitted = True
    later = ("strides",)

    strides: Strides | None = None
    """Feature maps whose means over the image are the features. Without it: the inputs of the last layer."""


class OneClassSvm(_EmbeddingMethod):
    """Schölkopf et al. 2001 with an RBF kernel, on a network's features."""

    title = "One-class SVM"

    name: Literal["one_class_svm"] = "one_class_svm"
    nu: Nu = 0.1
    """Largest share of training images outside, and smallest share of support vectors."""
    gamma: Literal["scale"] | PositiveFloat = "scale"
    """Parameter of the kernel exp(−gamma · |x − y|²); ``scale`` is 1 / (features · their variance)."""


class IsolationForest(_EmbeddingMethod):
    """Liu et al. 2008, on a network's features."""

    title = "Isolation forest"

    name: Literal["isolation_forest"] = "isolation_forest"
    trees: PositiveInt = 200
    """Number of trees."""


class NearestNeighbours(_EmbeddingMethod):
    """Mean distance to the nearest training images (Angiulli & Pizzuti 2002), on a network's features."""

    title = "Nearest neighbours"

    name: Literal["nearest_neighbours"] = "nearest_neighbours"
    neighbours: PositiveInt = 5
    """How many of the nearest training images are averaged."""


class Mahalanobis(_EmbeddingMethod):
    """Distance from the mean in units of the covariance (Lee et al. 2018), on a network's features."""

    title = "Mahalanobis"

    name: Literal["mahalanobis"] = "mahalanobis"
    strides: Strides | None = (4, 8, 16)
    """Feature maps whose means over the image are the features. Null: the inputs of the last layer."""


class PyodDetector(_EmbeddingMethod):
    """A detector of PyOD by its name, on a network's features."""

    title = "PyOD"

    name: Literal["pyod"] = "pyod"
    detector: str = Field(pattern=r"^[A-Z][A-Za-z0-9]*$")
    """Name of a class of PyOD, such as ``ECOD``; ``pyod/ECOD`` in the list of methods is the same."""
    arguments: dict[str, bool | int | float | str] = Field(default_factory=dict)
    """Keyword arguments of the class; without it, PyOD's defaults."""
    strides: Strides | None = (4, 8, 16)
    """Feature maps whose means over the image are the features. Null: the inputs of the last layer."""

    @property
    def label(self) -> str:
        """What names it in folders and tables of scores."""
        return f"pyod-{self.detector}"

    def __hash__(self) -> int:
        """Return a hash as every spec has one, though a mapping has none."""
        return hash(self.model_dump_json())


class _MapMethod(_Method):
    is_fitted = True

    strides: Strides
    """Feature maps that are put together, each brought to ``grid`` × ``grid`` places."""
    grid: PositiveInt = 8
    """Places along each side of the heat map."""
    pooling: Literal["max", "mean"] = "max"
    """How the score of an image comes from its heat map: of the most anomalous place, or of the mean place."""


class Padim(_MapMethod):
    """A normal distribution of a network's features at each place (PaDiM, Defard et al. 2021)."""

    title = "PaDiM"

    name: Literal["padim"] = "padim"
    strides: Strides = (4, 8, 16)
    """Feature maps that are put together, each brought to ``grid`` × ``grid`` places."""
    dimensions: PositiveInt = 100
    """Channels, drawn by the run's seed, that the distributions have at most."""


class Patchcore(_MapMethod):
    """Distance to the nearest of a small bank of patch features (PatchCore, Roth et al. 2022)."""

    title = "PatchCore"

    name: Literal["patchcore"] = "patchcore"
    strides: Strides = (8, 16)
    """Feature maps that are put together, each brought to ``grid`` × ``grid`` places."""
    bank: PositiveInt = 1000
    """Patches of the training images that are kept, at most."""


EmbeddingMethod = OneClassSvm | IsolationForest | NearestNeighbours | Mahalanobis | PyodDetector
"""Methods that are fitted to one row of features per image, of a network that is trained already."""
MapMethod = Padim | Patchcore
"""Methods that are fitted to the feature maps of a network that is trained already, and give a heat map."""

OneClassMethod = Annotated[DeepSvdd | Autoencoder | EmbeddingMethod | MapMethod, Field(discriminator="name")]
"""Any one-class method; in YAML its ``name`` says which."""

ONE_CLASS_METHODS: dict[str, type[_Method]] = by_name(OneClassMethod)


class BinaryTask(FrozenSpec):
    """Predict the probability of one finding."""

    kind: Literal["binary"] = "binary"
    pathology: str
    """The finding."""

    @field_validator("pathology")
    @classmethod
    def _is_a_finding(cls, value: str) -> str:
        return checked_finding(value)

    @property
    def name(self) -> str:
        """What people read in folders and tables."""
        return self.pathology

    @property
    def label(self) -> str:
        """The label of a pack's images that it learns."""
        return self.pathology


class OneClassTask(FrozenSpec):
    """Learn one class of images from its images alone, and say how far an image is from it.

    A label is 0 for an image of the class, 1 for one that is known not to be. A higher score is more anomalous.
    """

    kind: Literal["one_class"] = "one_class"
    normal: str = NO_FINDING
    """The one class: ``no_finding`` or a finding."""
    method: OneClassMethod
    """How it is learned."""
    threshold_quantile: float = Field(default=0.95, gt=0, lt=1)
    """Quantile of the training images' scores; an image above it is called anomalous."""

    @field_validator("normal")
    @classmethod
    def _is_a_class(cls, value: str) -> str:
        return NO_FINDING if parse_finding(value) == NO_FINDING else checked_finding(value)

    @property
    def name(self) -> str:
        """What people read in folders and tables: ``no_finding-deep_svdd``."""
        return f"{self.normal}-{self.method.label}"

    @property
    def label(self) -> str:
        """The label of a pack's images that it learns."""
        return self.normal


class PretrainingTask(FrozenSpec):
    """Learn features from all training images, whatever their labels."""

    views: ClassVar[int] = 2
    """Of an image, in succession in a training batch; each is a sample."""

    kind: Literal["pretraining"] = "pretraining"
    objective: Objective = "simsiam"
    """What is learned in place of labels."""

    @property
    def name(self) -> str:
        """What people read in folders and tables."""
        return self.objective

    @property
    def label(self) -> str:
        """A label that every pack has; its values play no part."""
        return NO_FINDING


Task = Annotated[BinaryTask | OneClassTask | PretrainingTask, Field(discriminator="kind")]
"""Any task; in YAML its ``kind`` says which."""
