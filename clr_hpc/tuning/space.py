"""Dimensions of a search space: for each setting, numbers to choose from or an interval."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from clr_hpc.config.tune import Range, Space, UpToWhatFits
from clr_hpc.config.tuned_study import Values

SIGNIFICANT_DIGITS = 4
"""Digits of a value from an interval: more change nothing in training and are hard to read."""


@dataclass(frozen=True)
class Choice:
    """One of several numbers, in order; a search chooses among positions."""

    values: tuple[float, ...]

    def draw(self, random: np.random.Generator) -> float:
        """Return one of the values, each as likely as the others."""
        return self.values[int(random.integers(len(self.values)))]

    def grid(self) -> tuple[float, ...]:
        """Return all values."""
        return self.values

    def to_parameter(self, value: float) -> float:
        """Return the parameter of the search library: the value's position, since a choice has an order."""
        return self.values.index(value)

    def from_parameter(self, parameter: float) -> float:
        """Return the value at a position."""
        return self.values[min(max(round(parameter), 0), len(self.values) - 1)]


@dataclass(frozen=True)
class Interval:
    """Any number between two bounds."""

    low: float
    high: float
    is_log: bool = False
    points: int = 3
    """Number of grid points."""

    def draw(self, random: np.random.Generator) -> float:
        """Return a value, uniform in it or in its logarithm."""
        return self._at(float(random.random()))

    def grid(self) -> tuple[float, ...]:
        """Return ``points`` evenly spaced values, including the bounds."""
        return tuple(self._at(float(place)) for place in np.linspace(0, 1, self.points))

    def to_parameter(self, value: float) -> float:
        """Return the parameter of the search library: the value itself."""
        return value

    def from_parameter(self, parameter: float) -> float:
        """Return the value with few digits, and within the bounds."""
        return self._rounded(parameter)

    def place(self, value: float) -> float:
        """Return the position of a value between the bounds, from 0 to 1, on the interval's own scale."""
        low, high, value = (math.log(each) if self.is_log else each for each in (self.low, self.high, value))
        return (value - low) / (high - low)

    def _rounded(self, value: float) -> float:
        return min(max(float(f"{value:.{SIGNIFICANT_DIGITS}g}"), self.low), self.high)

    def _at(self, place: float) -> float:
        if self.is_log:
            return self._rounded(math.exp(math.log(self.low) + place * math.log(self.high / self.low)))
        return self._rounded(self.low + place * (self.high - self.low))


Dimension = Choice | Interval
Dimensions = Mapping[str, Dimension]


def to_parameters(dimensions: Dimensions, values: Values) -> dict[str, float]:
    """Return settings as a search library knows them."""
    return {name: dimensions[name].to_parameter(value) for name, value in values.items()}


def from_parameters(dimensions: Dimensions, parameters: Mapping[str, Any]) -> Values:
    """Return the settings that a search library names by parameters."""
    return {name: dimension.from_parameter(float(parameters[name])) for name, dimension in dimensions.items()}


def dimensions_of(space: Space, batch_sizes_that_fit: tuple[int, ...] = ()) -> dict[str, Dimension]:
    """Return the dimensions of a space.

    Args:
        space: of the study's ``tune`` section.
        batch_sizes_that_fit: replace ``{low: ..., high: fits}``.
    """
    dimensions: dict[str, Dimension] = {}
    for name, values in space.named.items():
        if isinstance(values, Range):
            dimensions[name] = Interval(values.low, values.high, values.scale == "log", values.points)
        elif isinstance(values, UpToWhatFits):
            dimensions[name] = Choice(batch_sizes_that_fit)
        else:
            dimensions[name] = Choice(values)
    return dimensions
