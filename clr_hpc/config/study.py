"""A study file: a grid over tasks, models, optimizers, policies and seeds, and what all its runs share."""

import re
import shlex
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    PositiveInt,
    SerializerFunctionWrapHandler,
    field_validator,
    model_serializer,
    model_validator,
)

from clr_hpc.config.base import Also, FrozenSpec, Seed, shown, unknown
from clr_hpc.config.lr_range import AUTO, MeasuredRates, RangeTest
from clr_hpc.config.network import Architecture
from clr_hpc.config.optimizer import OPTIMIZERS, Optimizer, OptimizerName
from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES, checked_finding
from clr_hpc.config.plugins import plugins
from clr_hpc.config.policy import POLICIES, Ramp
from clr_hpc.config.run import Features, Training
from clr_hpc.config.task import ONE_CLASS_METHODS, OneClassMethod, OneClassTask
from clr_hpc.config.tune import Tuning

TRACKERS = {
    "mlflow": "clr_hpc.monitoring.trackers.mlflow:MLflow",
    "wandb": "clr_hpc.monitoring.trackers.wandb:WandB",
}
"""Where each tracker of this package is, by its name."""
TRACKER_GROUP = "clr_hpc.trackers"
"""Entry points of the trackers of other packages."""


def checked_tracker(name: str) -> str:
    """Return the name of a tracker.

    Raises:
        ValueError: no installed package has it.
    """
    known = [*TRACKERS, *plugins(TRACKER_GROUP)]
    if name not in known:
        raise ValueError(unknown("tracker", name, known))
    return name


class Rates(FrozenSpec):
    """The learning rates between which policies move with one optimizer; in YAML also ``auto`` for both."""

    lr_min: Annotated[float, Field(ge=0)] | Literal["auto"]
    """The lowest rate, at which waves begin and end; ``auto``: measured by an LR range test."""
    lr_max: PositiveFloat | Literal["auto"]
    """The highest rate, at which decaying and constant policies begin; ``auto``: measured by an LR range test."""

    @model_validator(mode="before")
    @classmethod
    def _auto_is_both(cls, value: Any) -> Any:
        return {"lr_min": AUTO, "lr_max": AUTO} if value == AUTO else value


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


class StageOfStudy(FrozenSpec):
    """The policies of one stage and how long it trains."""

    policies: tuple[PolicyOfStudy, ...]
    """Names, or mappings with a name; rates and lengths may be left to the study."""
    epochs: PositiveInt | None = None
    """Epochs of each run of the stage; None: ``training.epochs``."""
    early_stop: bool = True
    """Whether ``training.early_stop_epochs``, if given, may end its runs; else all of them train equally long."""

    @model_serializer(mode="wrap")
    def _without_later_options_that_are_off(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        # studies from before there were any keep their bytes
        values: dict[str, Any] = serialise(self)
        for name in ("early_stop", "control"):
            if name in values and values[name] == type(self).model_fields[name].default:
                del values[name]
        return values

    @field_validator("policies", mode="before")
    @classmethod
    def _a_bare_name_takes_all_defaults(cls, value: Any) -> Any:
        return _named(value, "policies", POLICIES)

    @model_validator(mode="after")
    def _no_policy_is_there_twice(self) -> "StageOfStudy":
        _check_entries("policies", self.policies)
        return self


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


class Stages(FrozenSpec):
    """What is trained after what."""

    baseline: StageOfStudy | None = None
    """The first training, with a decaying rate."""
    retrain: Retraining | None = None
    """Training that starts from the baseline's weights, each time with a control."""
    scratch: StageOfStudy | None = None
    """Training from the initial weights, without a sequel."""
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
        if self.baseline is None and self.scratch is None:
            raise ValueError("stages is empty; name baseline, with or without retrain, or scratch")
        if self.retrain is not None and self.baseline is None:
            raise ValueError("stages.retrain starts from stages.baseline, which is missing; add it")
        return self

    @property
    def trained(self) -> dict[str, StageOfStudy]:
        """The stages with policies that the study has, by name, in the order of training."""
        stages = {"baseline": self.baseline, "retrain": self.retrain, "scratch": self.scratch}
        return {name: stage for name, stage in stages.items() if stage is not None}


class Question(FrozenSpec):
    """The primary comparison, declared before training: what the report gives a verdict on."""

    policies: tuple[str, ...] | Literal["cyclical"] = "cyclical"
    """Names of policies of ``stages.retrain`` that are compared with the control."""
    measure: Literal["auroc"] = "auroc"
    """What is compared: on the test split, the mean over the pathologies."""
    margin: Annotated[float, Field(gt=0, lt=0.5)] = 0.01
    """Smaller differences in either direction count as equivalent."""

    def asks_about(self, policy: str, cyclical: bool) -> bool:
        """Return whether a policy's retraining gets a verdict; all others are exploratory."""
        return cyclical if self.policies == "cyclical" else policy in self.policies


class Keep(FrozenSpec):
    """Which weights runs keep once they are done. Those that a run still to be trained starts from always stay."""

    settings: Literal["all", "best"] = "all"
    """``best``: of each finding only those of the setting that is best on validation, which ``predict`` and
    ``export`` take; the weights of another setting are deleted as soon as a better one is done."""
    last: bool = True
    """Weights after the last step."""
    best: bool = True
    """Weights of the lowest validation loss, from which ``stages.retrain.weights: best`` starts."""
    swa: bool = True
    """Mean of the weights at cycle ends: the model ``swa``."""
    snapshots: bool = False
    """Weights at cycle ends: the model ``snapshots``. False: until they are scored."""
    optimizer_state: bool = False
    """State of the optimizer after the last step, with which ``stages.retrain.optimizer: continued`` begins."""

    @model_validator(mode="after")
    def _state_is_in_the_file_of_the_last_weights(self) -> "Keep":
        if self.optimizer_state and not self.last:
            raise ValueError("keep.optimizer_state is in the file of the last weights; set keep.last: true, too")
        return self


class OneClassOfStudy(FrozenSpec):
    """One class that is learned from its own images, by several methods."""

    normal: str = NO_FINDING
    """The one class: ``no_finding`` or a finding."""
    methods: tuple[Annotated[OneClassMethod, Also(tuple(ONE_CLASS_METHODS))], ...]
    """Names, or mappings that change some of a method's settings."""
    threshold_quantile: float = 0.95
    """Quantile of the training images' scores; an image above it is called anomalous."""
    features_of: str | None = None
    """The pathology whose binary baselines give the features that one-class SVM and the like are fitted to."""
    features: Features | None = None
    """A network with trained weights that gives the features, in place of ``features_of``."""

    @model_serializer(mode="wrap")
    def _without_later_options_that_are_off(self, serialise: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = serialise(self)
        if self.features is None:
            del values["features"]
        return values

    @field_validator("methods", mode="before")
    @classmethod
    def _a_bare_name_takes_all_defaults(cls, value: Any) -> Any:
        if isinstance(value, list | tuple):
            value = [_of_pyod(entry) for entry in value]
        return _named(value, "methods", ONE_CLASS_METHODS)

    @model_validator(mode="after")
    def _features_come_from_somewhere(self) -> "OneClassOfStudy":
        _check_entries("methods", self.methods)
        if self.features_of is not None and self.features is not None:
            raise ValueError(
                f"features_of: {self.features_of} and features: {self.features.network} are two sources of "
                "features; drop one, or make two entries of one_class"
            )
        if (self.features_of or self.features) is None and any(method.is_fitted for method in self.methods):
            raise ValueError(
                "methods on features need features_of: a pathology of the study, or features: a network with its "
                "weights"
            )
        return self

    def tasks(self) -> tuple[OneClassTask, ...]:
        """Return a task for each method."""
        quantile = self.threshold_quantile
        return tuple(
            OneClassTask(normal=self.normal, method=method, threshold_quantile=quantile) for method in self.methods
        )


class Study(FrozenSpec):
    """A grid of runs. Every list is crossed with every other."""

    name: str
    """Letters, digits, ``_`` and ``-``: it names the study's folder."""
    pack: str
    """Folder of the pack; a relative one is looked up from where the command runs."""
    pathologies: tuple[str, ...] | Literal["all"] = PATHOLOGIES
    """Findings of the binary classifiers; ``all``: those of the pack that can be trained."""
    one_class: tuple[OneClassOfStudy, ...] = ()
    """Classes of images that are learned from their own images alone."""
    architectures: tuple[Architecture, ...] = ("mobilenet_v1",)
    """Networks, by name."""
    optimizers: tuple[Annotated[Optimizer, Also(tuple(OPTIMIZERS))], ...]
    """Names, or mappings that change some of an optimizer's settings."""
    rates: dict[OptimizerName, Annotated[Rates, Also((AUTO,))]]
    """Rates by optimizer, since optimizers need different ones. A policy's own rates win."""
    stages: Stages
    """What is trained after what, and with which policies."""
    seeds: tuple[Seed, ...] = (0,)
    """Each model is trained once per seed; several seeds show how far results vary between trainings."""
    training: Training
    """What all runs share: batch, images, augmentation, initial weights."""
    question: Question = Question()
    """What the study is made to answer; ``clr-hpc run`` writes it into the study's folder."""
    keep: Keep = Keep()
    """Which weights stay on disk; results don't depend on it."""
    notify: str | None = None
    """A command to run when training has ended, failed or was stopped; no shell reads it. Its environment has
    ``CLR_HPC_STUDY``, ``CLR_HPC_STATUS`` (``done``, ``failed`` or ``stopped``), ``CLR_HPC_FOLDER``,
    ``CLR_HPC_REPORT``, ``CLR_HPC_RUNS`` and ``CLR_HPC_RUNS_DONE``."""
    tune: Tuning | None = None
    """The search of ``clr-hpc tune``; the study's own runs don't depend on it."""
    range_test: RangeTest = RangeTest()
    """How rates that are ``auto`` are measured."""
    measured: tuple[MeasuredRates, ...] = ()
    """The rates that replace ``auto``; ``clr-hpc run`` writes them into the study's folder."""
    track: tuple[Annotated[str, AfterValidator(checked_tracker), Also(tuple(TRACKERS))], ...] = ()
    """Trackers into which ``clr-hpc run`` mirrors the runs while it trains them: ``mlflow``, ``wandb``."""

    @field_validator("name")
    @classmethod
    def _names_a_folder(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", value):
            possible = re.sub(r"[^A-Za-z0-9_-]+", "-", value).strip("-_")[:40] or "my-study"
            raise ValueError(
                f"{shown(value)} must be of letters, digits, _ and -, beginning with one of the first two; "
                f"take another, such as {possible}"
            )
        return value

    @field_validator("notify")
    @classmethod
    def _is_a_command(cls, value: str | None) -> str | None:
        try:
            words = [] if value is None else shlex.split(value)
        except ValueError as error:
            raise ValueError(f"notify={shown(value)} is no command: {error}; close what it opens") from None
        if value is not None and not words:
            raise ValueError("notify is empty; give a command, or leave it out")
        return value

    @field_validator("pathologies", mode="before")
    @classmethod
    def _know_the_pathologies(cls, value: Any) -> Any:
        if value == "all":
            return value
        if not isinstance(value, list | tuple):
            raise ValueError(f"pathologies={shown(value)} must be a list of names, or all")
        for name in value:
            if not isinstance(name, str):
                raise ValueError(f"pathologies has {shown(name)}, which is no name of a finding; give text")
        return tuple(checked_finding(name) for name in value)

    @field_validator("optimizers", mode="before")
    @classmethod
    def _a_bare_name_takes_all_defaults(cls, value: Any) -> Any:
        return _named(value, "optimizers", OPTIMIZERS)

    @field_validator("rates")
    @classmethod
    def _rates_are_of_optimizers(cls, value: dict[str, Rates]) -> dict[str, Rates]:
        for name in value:
            if name not in OPTIMIZERS:
                raise ValueError(unknown("optimizer in rates", name, list(OPTIMIZERS)))
        return value

    @model_validator(mode="after")
    def _nothing_is_empty_or_twice(self) -> "Study":
        _check_entries("pathologies", self.findings, may_be_empty=bool(self.one_class))
        for field in ("architectures", "optimizers", "seeds"):
            _check_entries(field, getattr(self, field))
        return self

    @model_validator(mode="after")
    def _a_controls_rate_is_there_for_each_optimizer(self) -> "Study":
        retraining = self.stages.retrain
        if retraining is None or isinstance(retraining.control, str):
            return self
        used = {optimizer.name for optimizer in self.optimizers}
        for name in sorted(retraining.control.keys() ^ used):
            rule = "which has no rate there" if name in used else "which the study does not have"
            raise ValueError(
                f"stages.retrain.control={shown(retraining.control)} needs the highest rate of each optimizer of "
                f"the study, and of no other; mend it for {name}, {rule}"
            )
        return self

    @model_validator(mode="after")
    def _question_is_about_retrainings(self) -> "Study":
        known = [] if self.stages.retrain is None else [policy["name"] for policy in self.stages.retrain.policies]
        for name in self.question.policies if self.question.policies != "cyclical" else ():
            if name not in known:
                raise ValueError(unknown("policy in question.policies", name, known))
        return self

    @model_validator(mode="after")
    def _features_are_those_of_a_baseline(self) -> "Study":
        for group in self.one_class:
            if group.features_of is None:
                continue
            if group.features_of not in self.findings or self.stages.baseline is None:
                raise ValueError(
                    f"features_of: {group.features_of} needs a baseline of that pathology in this study; "
                    "add it to pathologies, and stages.baseline"
                )
        return self

    @property
    def findings(self) -> tuple[str, ...]:
        """Findings of the binary classifiers; the 14 as long as no pack says which ``all`` are."""
        return PATHOLOGIES if self.pathologies == "all" else self.pathologies

    def on_pack_with(self, trainable: tuple[str, ...]) -> "Study":
        """Return the study with a list in place of ``pathologies: all``.

        Args:
            trainable: the findings of its pack that can be trained.
        """
        return self.model_copy(update={"pathologies": trainable}) if self.pathologies == "all" else self

    @property
    def remarks(self) -> tuple[str, ...]:
        """What somebody who plans this study should know of it, a sentence each."""
        patience, retraining = self.training.early_stop_epochs, self.stages.retrain
        if patience is None or retraining is None or not retraining.early_stop:
            return ()
        return (
            f"training.early_stop_epochs={patience} may end a retraining sooner than its control, and the report "
            "leaves such a pair out; set stages.retrain.early_stop: false so that both train for as long",
        )


def _named(value: Any, field: str, known: Mapping[str, type]) -> Any:
    """Let a list hold bare names besides mappings with a name, and name the nearest for an unknown one."""
    if not isinstance(value, list | tuple):
        raise ValueError(f"{field}={shown(value)} must be a list")
    entries = [{"name": entry} if isinstance(entry, str) else entry for entry in value]
    for entry in entries:
        name = entry.get("name") if isinstance(entry, dict) else getattr(entry, "name", None)
        if name not in known:
            raise ValueError(unknown(f"name in {field}", str(name), list(known)))
    return tuple(entries)


def _of_pyod(entry: Any) -> Any:
    """Return ``{name: pyod, detector: ECOD}`` for ``pyod/ECOD``, and anything else as it is."""
    if isinstance(entry, str) and entry.startswith("pyod/"):
        return {"name": "pyod", "detector": entry.removeprefix("pyod/")}
    return entry


def _check_entries(field: str, entries: tuple[Any, ...], may_be_empty: bool = False) -> None:
    shown = [repr(entry) for entry in entries]
    if not shown and not may_be_empty:
        raise ValueError(f"{field} is empty; name at least one")
    twice = sorted(entry for entry, times in Counter(shown).items() if times > 1)
    if twice:
        raise ValueError(f"{field} has {', '.join(twice)} twice; drop one")
