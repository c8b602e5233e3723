"""A study file: a grid over tasks, models, optimizers, policies and seeds, and what all its runs share."""

import re
import shlex
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    Field,
    PositiveFloat,
    ValidationInfo,
    field_validator,
    model_validator,
)

from clr_hpc.config.base import Also, FrozenSpec, Seed, shown, unknown
from clr_hpc.config.lr_range import AUTO, MeasuredRates, RangeTest
from clr_hpc.config.network import Architecture
from clr_hpc.config.optimizer import OPTIMIZERS, Optimizer, OptimizerName
from clr_hpc.config.pathologies import PATHOLOGIES, checked_finding
from clr_hpc.config.plugins import plugins
from clr_hpc.config.run import Training
from clr_hpc.config.sections.entries import check_entries, named
from clr_hpc.config.sections.one_class import PRETRAIN, OneClassOfStudy
from clr_hpc.config.sections.stages import Stages
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
    rates: Annotated[dict[OptimizerName, Annotated[Rates, Also((AUTO,))]], Also((AUTO,))]
    """Rates by optimizer, since optimizers need different ones; ``auto``: all are measured. A policy's own rates
    take precedence."""
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
        return named(value, "optimizers", OPTIMIZERS)

    @field_validator("rates", mode="before")
    @classmethod
    def _auto_is_for_all(cls, value: Any, info: ValidationInfo) -> Any:
        return {one.name: AUTO for one in info.data.get("optimizers", ())} if value == AUTO else value

    @field_validator("rates")
    @classmethod
    def _rates_are_of_optimizers(cls, value: dict[str, Rates]) -> dict[str, Rates]:
        for name in value:
            if name not in OPTIMIZERS:
                raise ValueError(unknown("optimizer in rates", name, list(OPTIMIZERS)))
        return value

    @model_validator(mode="after")
    def _nothing_is_empty_or_twice(self) -> "Study":
        check_entries("pathologies", self.findings, may_be_empty=bool(self.one_class))
        for field in ("architectures", "optimizers", "seeds"):
            check_entries(field, getattr(self, field))
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
        of = [group.features_of for group in self.one_class]
        if (self.stages.pretrain is not None) != (PRETRAIN in of):
            raise ValueError(
                "stages.pretrain and features_of: pretrain in one_class belong together: methods are fitted to "
                "the features that the stage learns; add what is missing, or drop both"
            )
        for group in self.one_class:
            if group.features_of in (None, PRETRAIN):
                continue
            if group.features_of not in self.findings or self.stages.baseline is None:
                raise ValueError(
                    f"features_of: {group.features_of} needs a baseline of that pathology in this study; "
                    "add it to pathologies, and stages.baseline"
                )
        return self

    @model_validator(mode="after")
    def _pretraining_alone_trains_nothing_else(self) -> "Study":
        if [*self.stages.trained] != [PRETRAIN]:
            return self
        networks = [m.label for group in self.one_class for m in group.methods if not m.is_fitted]
        if self.findings or networks:
            raise ValueError(
                f"stages has pretrain alone, which trains no {', '.join([*self.findings, *networks])}; add "
                "stages.baseline or stages.scratch, or set pathologies: []"
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
