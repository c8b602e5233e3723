"""Learning-rate policies: settings, and how the rate moves. A new one is a class here and a member of ``Policy``.

All times are epochs since the stage began, as floats: an epoch is one pass over the training split. What a class
computes has no state, so every process of a run agrees without talking and a resumed run continues the same wave.
``clr_hpc.schedule.policies`` gives the rate and the momentum; ``docs/reference/policies.md`` shows every curve.
"""

import math
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from clr_hpc.config.base import FrozenSpec, by_name

# Rounding can put a boundary just above the step that lies on it: ten steps per epoch put the third at 0.3, and
# 0.3 / 0.1 is 2.9999999999999996. Without the slack that drop would come one step late.
_BOUNDARY_SLACK = 1e-9
WANTED_CYCLES = 4
"""Smith 2017 (arXiv:1506.01186), section 3.2: three cycles do most of the work, four or more do better."""
SHORTEST_HALF_CYCLE_EPOCHS, LONGEST_HALF_CYCLE_EPOCHS = 2, 10
"""Bounds of the same section, for stages that are long enough."""


class _Policy(FrozenSpec):
    title: ClassVar[str]
    """Name in reports."""
    is_cyclical: ClassVar[bool] = False
    """Whether the rate moves between two bounds; else it starts at its highest."""

    lr_max: PositiveFloat
    """The highest rate. In a study it may be left to ``rates``."""

    def rate(self, progress: float) -> float:
        """Return the rate after ``progress`` epochs; it may round to a hair above ``lr_max``."""
        raise NotImplementedError

    def momentum(self, progress: float) -> float | None:  # noqa: ARG002
        """Return the momentum (or beta1) after ``progress`` epochs, None where it is not cycled."""
        return None

    @property
    def rise_epochs(self) -> float:
        """Epochs from the lowest rate to the first peak; 0 where the rate only falls."""
        return 0.0

    @property
    def cycles_momentum(self) -> bool:
        """Whether ``momentum`` gives a value."""
        return False

    @property
    def cycle_epochs(self) -> float | None:
        """Length of a cycle that ends at the lowest rate and repeats; None where nothing repeats."""
        return None

    @classmethod
    def defaults(cls, epochs: int) -> dict[str, float]:
        """Return the settings that follow from the length of a stage, for a study that leaves them out."""
        return {"total_epochs": epochs} if "total_epochs" in cls.model_fields else {}

    def lasting(self, epochs: int) -> Self:
        """Return the same policy for a stage of ``epochs``; one without a fixed length stays as it is."""
        fixed = {"total_epochs": epochs} if "total_epochs" in type(self).model_fields else {}
        return self.model_copy(update=fixed)

    def in_steps(self, step_epochs: float) -> Self:  # noqa: ARG002
        """Return the policy for steps of this length in epochs, each trained with the rate at its beginning."""
        return self


class _Bounded(_Policy):
    lr_min: float = Field(ge=0)
    """The lowest rate. In a study it may be left to ``rates``."""

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> Self:
        if self.lr_min >= self.lr_max:
            raise ValueError(
                f"lr_max={self.lr_max:g} must be above lr_min={self.lr_min:g}; raise lr_max or lower lr_min, "
                "or let 'clr-hpc range-test' measure both"
            )
        return self


class _Cyclical(_Bounded):
    """Momentum (or beta1) moves against the rate, highest where it is lowest (Smith 2018, arXiv:1803.09820)."""

    is_cyclical = True

    momentum_min: float | None = Field(default=None, ge=0, lt=1)
    """Momentum (or beta1) where the rate is highest; without it momentum stays."""
    momentum_max: float | None = Field(default=None, ge=0, lt=1)
    """Momentum (or beta1) where the rate is lowest."""

    @model_validator(mode="after")
    def _momenta_come_in_pairs(self) -> Self:
        low, high = self.momentum_min, self.momentum_max
        if (low is None) != (high is None):
            raise ValueError(
                f"momentum_min={low} and momentum_max={high}: give both to cycle momentum, or neither"
            )
        if low is not None and high is not None and low > high:
            raise ValueError(f"momentum_max={high:g} must not be below momentum_min={low:g}")
        return self

    def height(self, progress: float) -> float:
        """Return how high the wave stands: 0 at its foot, 1 at its first peak."""
        raise NotImplementedError

    def rate(self, progress: float) -> float:
        return self.lr_min + (self.lr_max - self.lr_min) * self.height(progress)

    def momentum(self, progress: float) -> float | None:
        if self.momentum_min is None or self.momentum_max is None:
            return None
        depth = (self.momentum_max - self.momentum_min) * self.height(progress)
        return max(self.momentum_min, self.momentum_max - depth)

    @property
    def cycles_momentum(self) -> bool:
        return self.momentum_max is not None


class _Wave(_Cyclical):
    """Triangles, one after the other."""

    name: str
    half_cycle_epochs: PositiveFloat
    """Epochs from the foot of a wave to its peak. A study may leave it out: about four cycles per stage."""

    @property
    def cycle_epochs(self) -> float:
        return 2 * self.half_cycle_epochs

    @property
    def rise_epochs(self) -> float:
        return self.half_cycle_epochs

    @classmethod
    def defaults(cls, epochs: int) -> dict[str, float]:
        return {"half_cycle_epochs": half_cycle_epochs(epochs)}

    def envelope(self, progress: float) -> float:  # noqa: ARG002
        """Return the height of a peak at ``progress``; 1 if all are as high as the first."""
        return 1.0

    def height(self, progress: float) -> float:
        phase = progress % self.cycle_epochs
        return (1 - abs(phase / self.half_cycle_epochs - 1)) * self.envelope(progress)


class Constant(_Policy):
    """The rate stays at ``lr_max``."""

    title = "Constant"

    name: Literal["constant"] = "constant"

    def rate(self, progress: float) -> float:  # noqa: ARG002
        return self.lr_max


class Step(_Policy):
    """The rate is multiplied by ``gamma`` every ``step_epochs``."""

    title = "Step decay"

    name: Literal["step"] = "step"
    step_epochs: PositiveFloat
    """Epochs between two drops."""
    gamma: float = Field(default=0.1, gt=0, lt=1)
    """Factor of each drop."""

    def rate(self, progress: float) -> float:
        drops = math.floor(progress / self.step_epochs + _BOUNDARY_SLACK)
        return self.lr_max * self.gamma**drops


class Exponential(_Policy):
    """The rate is multiplied by ``gamma`` every epoch, continuously."""

    title = "Exponential decay"

    name: Literal["exponential"] = "exponential"
    gamma: float = Field(default=0.9, gt=0, lt=1)
    """Factor per epoch."""

    def rate(self, progress: float) -> float:
        return self.lr_max * math.pow(self.gamma, progress)


class InverseTime(_Policy):
    """The rate falls as ``1 / (1 + decay * t)``."""

    title = "Inverse-time decay"

    name: Literal["inverse_time"] = "inverse_time"
    decay: PositiveFloat = 0.5
    """Per epoch; after ``1 / decay`` epochs the rate has halved."""

    def rate(self, progress: float) -> float:
        return self.lr_max / (1 + self.decay * progress)


class Cosine(_Bounded):
    """Half a cosine from ``lr_max`` to ``lr_min`` (Loshchilov & Hutter 2017, arXiv:1608.03983)."""

    title = "Cosine decay"

    name: Literal["cosine"] = "cosine"
    lr_min: float = Field(default=0.0, ge=0)
    """The rate at the end."""
    total_epochs: PositiveFloat
    """Epochs of the fall; a study may leave it out: those of the stage."""

    def rate(self, progress: float) -> float:
        return self.lr_min + (self.lr_max - self.lr_min) * _half_cosine(progress / self.total_epochs)


class Triangular(_Wave):
    """Linear waves between the bounds (Smith 2017, arXiv:1506.01186)."""

    title = "Triangular"

    name: Literal["triangular"] = "triangular"


class Triangular2(_Wave):
    """Waves whose height halves after every cycle (Smith 2017)."""

    title = "Triangular2"

    name: Literal["triangular2"] = "triangular2"

    def envelope(self, progress: float) -> float:
        return math.exp2(-(progress // self.cycle_epochs))


class Triangular2Modified(_Wave):
    """Waves whose height halves after every cycle, down to ``floor`` of the first."""

    title = "Modified triangular2"

    name: Literal["triangular2_modified"] = "triangular2_modified"
    floor: float = Field(default=0.25, gt=0, le=1)
    """Lowest height of a wave, as a share of the first."""

    def envelope(self, progress: float) -> float:
        return max(self.floor, math.exp2(-(progress // self.cycle_epochs)))


class ExpRange(_Wave):
    """Waves whose height shrinks by ``gamma`` per epoch (Smith 2017)."""

    title = "Exp-range"

    name: Literal["exp_range"] = "exp_range"
    gamma: float = Field(default=0.95, gt=0, le=1)
    """Factor per epoch on a wave's height."""

    def envelope(self, progress: float) -> float:
        return math.pow(self.gamma, progress)


class OneCycle(_Cyclical):
    """One rise and one long fall over ``total_epochs`` (Smith & Topin 2018, arXiv:1708.07120)."""

    title = "One-cycle"

    name: Literal["one_cycle"] = "one_cycle"
    total_epochs: PositiveFloat
    """Epochs of the cycle; a study may leave it out: those of the stage."""
    warmup_fraction: float = Field(default=0.3, gt=0, lt=1)
    """Share of the cycle in which the rate rises."""
    final_divisor: float = Field(default=1e4, ge=1)
    """The rate ends at ``lr_min / final_divisor``."""

    def rate(self, progress: float) -> float:
        falls = progress >= self.warmup_fraction * self.total_epochs
        lowest = self.lr_min / (self.final_divisor if falls else 1)
        return lowest + (self.lr_max - lowest) * self.height(progress)

    def height(self, progress: float) -> float:
        peak = self.warmup_fraction * self.total_epochs
        if progress < peak:
            return 1 - _half_cosine(progress / peak)
        return _half_cosine((progress - peak) / (self.total_epochs * (1 - self.warmup_fraction)))

    @property
    def rise_epochs(self) -> float:
        return self.warmup_fraction * self.total_epochs

    def in_steps(self, step_epochs: float) -> Self:
        """Return the policy whose last step has the lowest rate, and whose last step of the rise the highest.

        So does torch's ``OneCycleLR``. A policy of a single step stays as it is.
        """
        total = self.total_epochs - step_epochs
        if total <= 0:
            return self
        peak = max(0.0, self.warmup_fraction * self.total_epochs - step_epochs)
        return self.model_copy(update={"total_epochs": total, "warmup_fraction": peak / total})


class Ramp(_Bounded):
    """The rate rises from ``lr_min`` to ``lr_max`` over ``total_epochs``, once: an LR range test (Smith 2017)."""

    title = "Ramp"

    name: Literal["ramp"] = "ramp"
    total_epochs: PositiveFloat
    """Epochs of the rise."""
    scale: Literal["exponential", "linear"] = "exponential"
    """``exponential``: as long in each decade of rates. ``linear``: as Smith did, for bounds close together."""

    @model_validator(mode="after")
    def _decades_have_a_beginning(self) -> Self:
        if self.scale == "exponential" and self.lr_min == 0:
            raise ValueError("lr_min=0 can't grow exponentially; give a positive lr_min or scale: linear")
        return self

    def rate(self, progress: float) -> float:
        fraction = min(progress / self.total_epochs, 1.0)
        if self.scale == "linear":
            rate = self.lr_min + (self.lr_max - self.lr_min) * fraction
        else:
            rate = self.lr_min * (self.lr_max / self.lr_min) ** fraction
        return max(self.lr_min, rate)


def half_cycle_epochs(epochs: int) -> float:
    """Return half a cycle for a stage of ``epochs``, a whole number of cycles, so that it ends at a wave's foot.

    Four cycles, or as near to it as leaves half a cycle between 2 and 10 epochs; one cycle where that is not
    possible.
    """
    fewest = -(-epochs // (2 * LONGEST_HALF_CYCLE_EPOCHS))
    most = epochs // (2 * SHORTEST_HALF_CYCLE_EPOCHS)
    cycles = max(1, min(max(WANTED_CYCLES, fewest), most))
    return epochs / (2 * cycles)


def _half_cosine(fraction: float) -> float:
    """Return 1 at 0, 0 from 1 on, and half a cosine between."""
    return (1 + math.cos(math.pi * min(fraction, 1.0))) / 2


Policy = Annotated[
    Constant
    | Step
    | Exponential
    | InverseTime
    | Cosine
    | Triangular
    | Triangular2
    | Triangular2Modified
    | ExpRange
    | OneCycle
    | Ramp,
    Field(discriminator="name"),
]
"""Any policy; in YAML its ``name`` says which."""

POLICIES: dict[str, type[_Policy]] = by_name(Policy)
