"""``one_class``: classes that are learned from their own images, and by which methods."""

from typing import Annotated, Any

from pydantic import field_validator, model_validator

from clr_hpc.config.base import Also, GrownSpec
from clr_hpc.config.pathologies import NO_FINDING
from clr_hpc.config.run import Features
from clr_hpc.config.sections.entries import check_entries, named
from clr_hpc.config.task import ONE_CLASS_METHODS, OneClassMethod, OneClassTask

PRETRAIN = "pretrain"
"""The word of ``features_of`` for the networks of ``stages.pretrain``."""


class OneClassOfStudy(GrownSpec):
    """One class that is learned from its own images, by several methods."""

    later = ("features",)

    normal: str = NO_FINDING
    """The one class: ``no_finding`` or a finding."""
    methods: tuple[Annotated[OneClassMethod, Also(tuple(ONE_CLASS_METHODS))], ...]
    """Names, or mappings that change some of a method's settings."""
    threshold_quantile: float = 0.95
    """Quantile of the training images' scores; an image above it is called anomalous."""
    features_of: str | None = None
    """The pathology whose binary baselines give the features that one-class SVM and the like are fitted to, or
    ``pretrain``: the networks of ``stages.pretrain``."""
    features: Features | None = None
    """A network with trained weights that gives the features, in place of ``features_of``."""

    @field_validator("methods", mode="before")
    @classmethod
    def _a_bare_name_takes_all_defaults(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            value = [_of_pyod(entry) for entry in value]
        return named(value, "methods", ONE_CLASS_METHODS)

    @model_validator(mode="after")
    def _features_come_from_somewhere(self) -> "OneClassOfStudy":
        check_entries("methods", self.methods)
        if self.features_of is not None and self.features is not None:
            raise ValueError(
                f"features_of: {self.features_of} and features: {self.features.network} are two sources of "
                "features; drop one, or make two entries of one_class"
            )
        if (self.features_of or self.features) is None and any(method.is_fitted for method in self.methods):
            raise ValueError(
                "methods on features need features_of: a pathology of the study or pretrain, or features: a "
                "network with its weights"
            )
        return self

    def tasks(self) -> tuple[OneClassTask, ...]:
        """Return a task for each method."""
        quantile = self.threshold_quantile
        return tuple(
            OneClassTask(normal=self.normal, method=method, threshold_quantile=quantile) for method in self.methods
        )


def _of_pyod(entry: Any) -> Any:
    """Return ``{name: pyod, detector: ECOD}`` for ``pyod/ECOD``, and anything else as it is."""
    if isinstance(entry, str) and entry.startswith("pyod/"):
        return {"name": "pyod", "detector": entry.removeprefix("pyod/")}
    return entry
