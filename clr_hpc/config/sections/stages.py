"""``stages``: what is trained after what, with which policies."""

from typing import Annotated, Any, Literal

from pydantic import PositiveFloat, PositiveInt, field_validator, model_validator

from clr_hpc.config.base import GrownSpec
from clr_hpc.config.lr_range import AUTO
from clr_hpc.config.optimizer import OptimizerName
from clr_hpc.config.policy import POLICIES, Ramp
from clr_hpc.config.run import Augmentation
from clr_hpc.config.sections.entries import check_entries, named
from clr_hpc.config.task import Objective


class _CompletedLater:
    """The JSON schema of a policy in a study: a name, or a mapping that may leave out what the study completes."""

    @staticmethod
    def __get_pydantic_json_schema__(core_schema: Any, handler: Any) -> dict[str, Any]:
        kinds = {name: kind for name, kind in POLICIES.items() if kind is not Ramp}
        schemas = {name: kind.model_json_schema() for name, kind in kinds.items()}
        for name, schema in schemas.items():
            completed = {"lr_min", "lr_max", *kinds[name].defaults(1)}
            schema["required"] = [key for key in schema["required"] if key not in completed]
            for key in {"lr_min", "lr_max"} & schema["properties"].keys():
                rate = schema["properties"][key]
                schema["properties"][key] = {
                    "description": rate.pop("description"),
                    "anyOf": [{"const": AUTO}, rate],
                }
        return {"anyOf": [{"enum": [*kinds]}, {"oneOf": [*schemas.values()]}]}


PolicyOfStudy = Annotated[dict[str, Any], _CompletedLater()]
"""A policy as a study's file has it; ``clr_hpc.config.expand`` completes it."""


class StageOfStudy(GrownSpec):
    """The policies of one stage and how long it trains."""

    later = ("early_stop", "control")

    policies: tuple[PolicyOfStudy, ...]
    """Names, or mappings with a name; rates and lengths may be left to the study."""
    epochs: PositiveInt | None = None
    """Epochs of each run of the stage; None: ``training.epochs``."""
    early_stop: bool = True
    """Whether ``training.early_stop_epochs``, if given, may end its runs; else all of them train equally long."""

    @field_validator("policies", mode="before")
    @classmethod
    def _a_bare_name_takes_all_defaults(cls, value: Any) -> Any:
        return named(value, "policies", POLICIES)

    @model_validator(mode="after")
    def _no_policy_is_there_twice(self) -> "StageOfStudy":
        check_entries("policies", self.policies)
        return self


class Pretraining(StageOfStudy):
    """Features that are learned from all training images without labels, for ``features_of: pretrain``."""

    early_stop: bool = False
    """Whether ``training.early_stop_epochs``, if given, may end its runs. A lower loss is no better features."""
    objective: Objective = "simsiam"
    """``simsiam``: two views of an image have similar features (Chen & He 2021)."""
    augmentation: Augmentation = Augmentation(
        flip_probability=0.5,
        rotation_degrees=10.0,
        shift_fraction=0.15,
        scale_fraction=0.3,
        brightness_fraction=0.4,
    )
    """How views of an image differ, in place of ``training.augmentation``: what they have in common is learned."""


class Retraining(StageOfStudy):
    """Each baseline is trained further with each of these policies and, as their control, with its own."""

    weights: Literal["last", "best"] = "last"
    """The baseline's weights to start from: its ``last``, or the ``best`` by validation loss."""
    optimizer: Literal["fresh", "continued"] = "fresh"
    """``continued``: with the momenta that the baseline ended with."""
    control: Literal["as_baseline", "rate_matched"] | dict[OptimizerName, PositiveFloat] = "as_baseline"
    """``as_baseline``: with the baseline's rates. ``rate_matched``: for each highest rate of the policies, a
    control with that one, so that only the form of the rate differs. A mapping: the control's highest rate by
    optimizer, such as a search finds it."""


class Stages(GrownSpec):
    """What is trained after what."""

    later = ("pretrain",)

    pretrain: Pretraining | None = None
    """Training without labels, for the features of one-class models."""
    baseline: StageOfStudy | None = None
    """The first training, with a decaying rate."""
    retrain: Retraining | None = None
    """Training that starts from the baseline's weights, each time with a control."""
    scratch: StageOfStudy | None = None
    """Training from the initial weights, which nothing else starts from."""
    range_test: bool = False
    """Only LR range tests, as ``clr-hpc range-test`` sets it; ``Study.range_test`` configures them."""

    @model_validator(mode="after")
    def _retraining_needs_a_baseline(self) -> "Stages":
        if self.range_test:
            if self.trained:
                raise ValueError(
                    f"stages.range_test stands alone, without {next(iter(self.trained))}; drop it: 'clr-hpc "
                    "range-test' makes the range tests of any study"
                )
            return self
        if not self.trained:
            raise ValueError("stages is empty; name baseline, with or without retrain, scratch or pretrain")
        if self.retrain is not None and self.baseline is None:
            raise ValueError("stages.retrain starts from stages.baseline, which is missing; add it")
        return self

    @property
    def trained(self) -> dict[str, StageOfStudy]:
        """The stages with policies that the study has, by name, in the order of training."""
        names = ("pretrain", "baseline", "retrain", "scratch")
        stages: dict[str, StageOfStudy | None] = {name: getattr(self, name) for name in names}
        return {name: stage for name, stage in stages.items() if stage is not None}
