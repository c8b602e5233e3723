"""What one model learns, as data: a finding or not, or what one class of images looks like."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from clr_hpc.config.base import FrozenSpec, by_name
from clr_hpc.config.pathologies import NO_FINDING, checked_finding, parse_finding

Nu = Annotated[float, Field(gt=0, le=1)]


class _Method(FrozenSpec):
    title: ClassVar[str]
    """Name in reports."""
    is_fitted: ClassVar[bool] = False
    """Whether it is fitted to the features of a trained network and takes no step."""
    has_own_network: ClassVar[bool] = False
    """Whether it trains a network of its own, whatever the architecture."""


class DeepSvdd(_Method):
    """A network that maps the one class close to a point (Ruff et al. 2018)."""

    title = "Deep SVDD"

    name: Literal["deep_svdd"] = "deep_svdd"
    boundary: Literal["hard", "soft"] = "hard"
    """``soft``: images within a radius cost nothing more; the radius is learned."""
    nu: Nu = 0.1
    """Soft boundary only: the share of training images outside the radius."""
    outputs: PositiveInt = 32
    """Dimensions of the space in which the distance is measured."""
    pretraining_epochs: NonNegativeInt = 0
    """Epochs of training the network as an autoencoder's encoder first."""

    @model_validator(mode="after")
    def _nu_belongs_to_the_soft_boundary(self) -> "DeepSvdd":
        if self.boundary == "hard" and self.nu != DeepSvdd.model_fields["nu"].default:
            raise ValueError(f"nu={self.nu:g} is used with boundary: soft only; set that or drop nu")
        return self


class Autoencoder(_Method):
    """A convolutional autoencoder, which redraws the one class better than what it never saw."""

    title = "Autoencoder"
    has_own_network = True

    name: Literal["autoencoder"] = "autoencoder"
    code_channels: PositiveInt = 16
    """Channels of the narrowest layer, whose sides are 1/16 of the image's."""


class _EmbeddingMethod(_Method):
    is_fitted = True


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


EmbeddingMethod = OneClassSvm | IsolationForest | NearestNeighbours
"""Methods that are fitted to the features of a network that is trained already."""

OneClassMethod = Annotated[DeepSvdd | Autoencoder | EmbeddingMethod, Field(discriminator="name")]
"""Any one-class method; in YAML its ``name`` says which."""

ONE_CLASS_METHODS: dict[str, type[_Method]] = by_name(OneClassMethod)


class BinaryTask(FrozenSpec):
    """Say how probable one finding is."""

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
        return f"{self.normal}-{self.method.name}"

    @property
    def label(self) -> str:
        """The label of a pack's images that it learns."""
        return self.normal


Task = Annotated[BinaryTask | OneClassTask, Field(discriminator="kind")]
"""Any task; in YAML its ``kind`` says which."""
