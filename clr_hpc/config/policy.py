"""Learning-rate policies as data. What a policy computes stands in ``clr_hpc.schedule.policies``.

All times are epochs since the stage began, as floats: an epoch is one pass over the training split.
"""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, model_validator

from clr_hpc.config.base import FrozenSpec


class _Policy(FrozenSpec):
    lr_max: PositiveFloat


class _Bounded(_Policy):
    lr_min: float = Field(ge=0)

    @model_validator(mode="after")
    def _bounds_are_in_order(self) -> "_Bounded":
        if self.lr_min >= self.lr_max:
            raise ValueError(
                f"lr_max={self.lr_max:g} must be above lr_min={self.lr_min:g}; raise lr_max or lower lr_min, "
                "or let 'clr-hpc range-test' measure both"
            )
        return self


class MomentumCycle(_Bounded):
    """Momentum (or beta1) moves against the rate, highest where it is lowest (Smith 2018, arXiv:1803.09820)."""

    momentum_min: float | None = Field(default=None, ge=0, lt=1)
    momentum_max: float | None = Field(default=None, ge=0, lt=1)

    @model_validator(mode="after")
    def _momenta_come_in_pairs(self) -> "MomentumCycle":
        low, high = self.momentum_min, self.momentum_max
        if (low is None) != (high is None):
            raise ValueError(
                f"momentum_min={low} and momentum_max={high}: give both to cycle momentum, or neither"
            )
        if low is not None and high is not None and low > high:
            raise ValueError(f"momentum_max={high:g} must not be below momentum_min={low:g}")
        return self


class Constant(_Policy):
    """The rate stays at ``lr_max``."""

    name: Literal["constant"] = "constant"


class Step(_Policy):
    """The rate is multiplied by ``gamma`` every ``step_epochs``."""

    name: Literal["step"] = "step"
    step_epochs: PositiveFloat
    gamma: float = Field(default=0.1, gt=0, lt=1)


class Exponential(_Policy):
    """The rate is multiplied by ``gamma`` every epoch, continuously."""

    name: Literal["exponential"] = "exponential"
    gamma: float = Field(default=0.9, gt=0, lt=1)


class InverseTime(_Policy):
    """The rate falls as ``1 / (1 + decay * t)``."""

    name: Literal["inverse_time"] = "inverse_time"
    decay: PositiveFloat = 0.5


class Cosine(_Bounded):
    """Half a cosine from ``lr_max`` to ``lr_min`` (Loshchilov & Hutter 2017, arXiv:1608.03983)."""

    name: Literal["cosine"] = "cosine"
    lr_min: float = Field(default=0.0, ge=0)
    total_epochs: PositiveFloat


class Triangular(MomentumCycle):
    """Linear waves between the bounds (Smith 2017, arXiv:1506.01186)."""

    name: Literal["triangular"] = "triangular"
    half_cycle_epochs: PositiveFloat


class Triangular2(MomentumCycle):
    """Waves whose height halves after every cycle (Smith 2017)."""

    name: Literal["triangular2"] = "triangular2"
    half_cycle_epochs: PositiveFloat


class Triangular2Modified(MomentumCycle):
    """Waves whose height halves down to ``floor`` of the first; docs/reference/policies.md."""

    name: Literal["triangular2_modified"] = "triangular2_modified"
    half_cycle_epochs: PositiveFloat
    floor: float = Field(default=0.25, gt=0, le=1)


class ExpRange(MomentumCycle):
    """Waves whose height shrinks by ``gamma`` an epoch (Smith 2017)."""

    name: Literal["exp_range"] = "exp_range"
    half_cycle_epochs: PositiveFloat
    gamma: float = Field(default=0.95, gt=0, le=1)


class OneCycle(MomentumCycle):
    """One rise and one long fall over ``total_epochs`` (Smith & Topin 2018, arXiv:1708.07120)."""

    name: Literal["one_cycle"] = "one_cycle"
    total_epochs: PositiveFloat
    warmup_fraction: float = Field(default=0.3, gt=0, lt=1)
    final_divisor: float = Field(default=1e4, ge=1)
    """The rate ends at ``lr_min / final_divisor``."""


class Ramp(_Bounded):
    """The rate rises from ``lr_min`` to ``lr_max`` over ``total_epochs``, once: a range test (Smith 2017)."""

    name: Literal["ramp"] = "ramp"
    total_epochs: PositiveFloat
    scale: Literal["exponential", "linear"] = "exponential"
    """``exponential``: as long in each decade of rates. ``linear``: as Smith did, for bounds close together."""

    @model_validator(mode="after")
    def _decades_have_a_beginning(self) -> "Ramp":
        if self.scale == "exponential" and self.lr_min == 0:
            raise ValueError("lr_min=0 can't grow exponentially; give a positive lr_min or scale: linear")
        return self


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

POLICY_NAMES: tuple[str, ...] = (
    "constant",
    "step",
    "exponential",
    "inverse_time",
    "cosine",
    "triangular",
    "triangular2",
    "triangular2_modified",
    "exp_range",
    "one_cycle",
    "ramp",
)
