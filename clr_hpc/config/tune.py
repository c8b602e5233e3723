"""What a study's ``tune:`` section says: which settings are searched, how, and at what cost."""

from typing import Annotated, Literal

from pydantic import Field, PositiveInt, field_validator, model_validator

from clr_hpc.config.base import FrozenSpec, Seed

SearchName = Literal["grid", "random", "optuna-tpe", "optuna-gp", "hyperopt-tpe", "smac-forest"]
"""``optuna-tpe`` and ``hyperopt-tpe``: tree-structured Parzen estimators (Bergstra et al. 2011). ``optuna-gp``: a
Gaussian process. ``smac-forest``: a random forest (Hutter et al. 2011)."""


class Range(FrozenSpec):
    """All numbers between two bounds."""

    low: float = Field(ge=0)
    """The lowest number."""
    high: float
    """The highest number."""
    scale: Literal["linear", "log"] = "linear"
    """``log``: each decade is as likely; for rates and weight decay."""
    points: int = Field(default=3, ge=2)
    """Values that a grid search takes from the range, both ends included; other searches take any value."""

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"high={self.high:g} must be above low={self.low:g}; a single value needs no search")
        if self.scale == "log" and self.low == 0:
            raise ValueError("low=0 has no logarithm; raise low, or drop scale: log")
        return self


class UpToWhatFits(FrozenSpec):
    """Batch sizes ``low``, twice that, four times that, and so on, and last the largest that the memory takes."""

    low: PositiveInt
    """The smallest batch size."""
    high: Literal["fits"]
    """``fits``: what memory takes is measured first."""


class Space(FrozenSpec):
    """The settings that are searched. A list gives the values to choose from; other settings keep their values."""

    batch_size: tuple[PositiveInt, ...] | UpToWhatFits | None = None
    """Images per step."""
    lr_max: tuple[float, ...] | Range | None = None
    """The policy's highest rate."""
    lr_min: tuple[float, ...] | Range | None = None
    """The policy's lowest rate."""
    lr_min_fraction: tuple[float, ...] | Range | None = None
    """``lr_min`` as a part of ``lr_max``: for ranges of both that would overlap."""
    half_cycle_epochs: tuple[float, ...] | Range | None = None
    """Epochs from the foot of a wave to its peak."""
    weight_decay: tuple[float, ...] | Range | None = None
    """That of the optimizer."""

    @field_validator("*")
    @classmethod
    def _a_choice_has_alternatives(cls, value: object) -> object:
        if not isinstance(value, tuple):
            return value
        if len(set(value)) < 2 or len(set(value)) < len(value):
            shown = ", ".join(f"{entry:g}" for entry in value)
            raise ValueError(f"[{shown}] must have two values or more, each once; drop the key to search nothing")
        return tuple(sorted(value))

    @model_validator(mode="after")
    def _something_is_searched(self) -> "Space":
        if not self.named:
            raise ValueError(f"space is empty; name one or more of {', '.join(type(self).model_fields)}")
        if self.lr_min is not None and self.lr_min_fraction is not None:
            raise ValueError("lr_min and lr_min_fraction say the same; drop one")
        return self

    @property
    def named(self) -> dict[str, "tuple[float, ...] | Range | UpToWhatFits"]:
        """The settings that are searched, in the order of this class: batch size first."""
        values = {name: getattr(self, name) for name in type(self).model_fields}
        return {name: value for name, value in values.items() if value is not None}


class EarlyStopping(FrozenSpec):
    """Asynchronous successive halving (Li et al. 2018, arXiv:1810.05934): bad trials stop after a few epochs.

    A trial pauses after ``min_epochs`` epochs, ``reduction`` times that, and so on. Of the trials that reached a
    pause, the best one in ``reduction`` continues.
    """

    min_epochs: PositiveInt = 1
    """Epochs after which a trial pauses first."""
    reduction: int = Field(default=3, ge=2)
    """One in how many trials continues after a pause."""

    def rungs(self, epochs: int) -> tuple[int, ...]:
        """Return after how many epochs trials of ``epochs`` epochs pause; the last number is their end."""
        rungs = []
        rung = self.min_epochs
        while rung < epochs:
            rungs.append(rung)
            rung *= self.reduction
        return (*rungs, epochs)


class Tuning(FrozenSpec):
    """A search for the settings with which one of the study's models trains best."""

    search: SearchName = "random"
    """How settings are proposed. All but grid and random need an extra: optuna, hyperopt or smac."""
    space: Space
    """The settings that are searched."""
    trials: PositiveInt | None = None
    """How many settings are tried; None: the whole grid, for a grid search alone."""
    search_seed: Seed = 0
    """Seed of what the search draws."""
    seeds: Annotated[tuple[Seed, ...], Field(max_length=1000)] | None = None
    """Each setting is trained with each of these; None: with the study's."""
    objective: Literal["auroc", "loss"] = "auroc"
    """Measure of a setting on the validation split at the end of training, as the mean over the seeds."""
    stage: Literal["baseline", "retrain", "scratch"] | None = None
    """Stage that is searched; None: ``baseline`` where the study has it, else ``scratch``."""
    policy: str | None = None
    """The name of the stage's policy whose settings are searched; None: its first."""
    task: str | None = None
    """A pathology of the study, or the name of a one-class task; None: its first."""
    architecture: str | None = None
    """Network that is trained; None: the study's first."""
    optimizer: str | None = None
    """Optimizer that trains it; None: the study's first."""
    early_stopping: EarlyStopping | None = None
    """Ends bad trials after a few epochs; without it all are trained to their end."""

    @model_validator(mode="after")
    def _a_search_ends(self) -> "Tuning":
        if self.trials is None and self.search != "grid":
            raise ValueError(f"search: {self.search} never ends; say how many trials")
        return self

    @model_validator(mode="after")
    def _seeds_differ(self) -> "Tuning":
        if self.seeds is not None and (not self.seeds or len(set(self.seeds)) < len(self.seeds)):
            raise ValueError(f"seeds={list(self.seeds)} must be one or more, each once")
        return self

    @model_validator(mode="after")
    def _a_retraining_keeps_what_its_baseline_has(self) -> "Tuning":
        shared = [name for name in ("batch_size", "weight_decay") if name in self.space.named]
        if self.stage == "retrain" and shared:
            raise ValueError(
                f"stage: retrain can't search {' and '.join(shared)}, which a retraining shares with its "
                "baseline; search that with stage: baseline"
            )
        return self
