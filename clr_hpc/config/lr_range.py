"""LR range tests as data: which rates they go through, and which rates they suggest."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, field_validator, model_validator

from clr_hpc.config.base import FrozenSpec, Seed, unknown
from clr_hpc.config.network import Architecture
from clr_hpc.config.optimizer import OPTIMIZERS, Optimizer, OptimizerName
from clr_hpc.config.pathologies import checked_finding
from clr_hpc.config.policy import Ramp
from clr_hpc.config.task import Task

AUTO = "auto"
"""Replaced by the rate that the LR range test suggests."""


class RatesTested(FrozenSpec):
    """The rates that a range test goes through."""

    lr_min: PositiveFloat
    """The rate at the beginning."""
    lr_max: PositiveFloat
    """The rate at the end."""

    @model_validator(mode="after")
    def _goes_up(self) -> "RatesTested":
        if self.lr_min >= self.lr_max:
            raise ValueError(f"lr_max={self.lr_max:g} of a range test must be above lr_min={self.lr_min:g}")
        return self


class RangeTest(FrozenSpec):
    """How a study's LR range tests are made."""

    scale: Literal["exponential", "linear"] = "exponential"
    """``exponential``: as long in each decade of rates. ``linear``: for bounds close together."""
    rates: dict[OptimizerName, RatesTested] = Field(default={})
    """Ranges by optimizer; the default is the ``lr_range`` of the optimizer's class."""
    epochs: PositiveInt = 6
    """The rate rises through the whole range in this time. A test needs some hundred steps."""
    seeds: tuple[Seed, ...] = Field(default=(0, 1, 2), min_length=1, max_length=1000)
    """A test is made with each, and the range is taken from all of them."""
    pathology: str | None = None
    """The pathology whose classifier represents all binary ones; None: the study's first."""

    @field_validator("rates")
    @classmethod
    def _ranges_are_of_optimizers(cls, value: dict[str, RatesTested]) -> dict[str, RatesTested]:
        for name in value:
            if name not in OPTIMIZERS:
                raise ValueError(unknown("optimizer in range_test.rates", name, list(OPTIMIZERS)))
        return value

    @field_validator("seeds")
    @classmethod
    def _no_seed_is_there_twice(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if len(set(value)) < len(value):
            raise ValueError(f"range_test.seeds={list(value)} has one twice; drop it")
        return value

    @field_validator("pathology")
    @classmethod
    def _is_a_pathology(cls, value: str | None) -> str | None:
        return None if value is None else checked_finding(value)

    def ramp(self, optimizer: str) -> Ramp:
        """Return how the rate rises with an optimizer."""
        lr_min, lr_max = OPTIMIZERS[optimizer].lr_range
        if optimizer in self.rates:
            lr_min, lr_max = self.rates[optimizer].lr_min, self.rates[optimizer].lr_max
        return Ramp(lr_min=lr_min, lr_max=lr_max, total_epochs=self.epochs, scale=self.scale)


class MeasuredRates(FrozenSpec):
    """What range tests suggest for one architecture, optimizer and kind of learner."""

    architecture: Architecture
    """The network that was tested."""
    optimizer: Optimizer
    """The optimizer that was tested."""
    task: Task
    """The task that was tested. A binary one represents all binary tasks, a one-class one itself."""
    lr_min: PositiveFloat
    """The lowest rate of waves."""
    lr_max: PositiveFloat
    """The highest rate of waves."""
    lr: PositiveFloat
    """The rate of constant and decaying policies, which start at their highest."""
    tests: tuple[str, ...]
    """Names of the runs that it was taken from."""

    def suits(self, architecture: str, optimizer: Optimizer, task: Task) -> bool:
        """Return whether it was measured for this combination."""
        same_learner = self.task == task or self.task.kind == task.kind == "binary"
        return self.architecture == architecture and self.optimizer == optimizer and same_learner
