"""Optimizers as data. The learning rate is not here: it is the policy's."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from clr_hpc.config.base import FrozenSpec


class _Optimizer(FrozenSpec):
    weight_decay: NonNegativeFloat = 0.0


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum."""

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    nesterov: bool = False


class Adam(_Optimizer):
    """Kingma & Ba 2015 (arXiv:1412.6980)."""

    name: Literal["adam"] = "adam"
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: PositiveFloat = 1e-8


class AdamW(_Optimizer):
    """Adam with decoupled weight decay, Loshchilov & Hutter 2019 (arXiv:1711.05101)."""

    name: Literal["adamw"] = "adamw"
    weight_decay: NonNegativeFloat = 0.01
    beta1: float = Field(default=0.9, ge=0, lt=1)
    beta2: float = Field(default=0.999, ge=0, lt=1)
    epsilon: PositiveFloat = 1e-8


class RmsProp(_Optimizer):
    """Tieleman & Hinton 2012."""

    name: Literal["rmsprop"] = "rmsprop"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    smoothing: float = Field(default=0.99, ge=0, lt=1)
    epsilon: PositiveFloat = 1e-8


class Adagrad(_Optimizer):
    """Duchi et al. 2011: the project's fourth optimizer, since the article names three of four."""

    name: Literal["adagrad"] = "adagrad"
    epsilon: PositiveFloat = 1e-10


Optimizer = Annotated[Sgd | Adam | AdamW | RmsProp | Adagrad, Field(discriminator="name")]
"""Any optimizer; in YAML its ``name`` says which."""

OPTIMIZER_NAMES: tuple[str, ...] = ("sgd", "adam", "adamw", "rmsprop", "adagrad")
