"""Optimizers as data. A new one is a class here and a member of ``Optimizer``; nothing else names them.

The learning rate is not here: it is the policy's.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, WithJsonSchema

from clr_hpc.config.base import FrozenSpec, by_name

SMALL_STEPS = (1e-6, 0.1)
"""Steps of Adam and RMSprop are about as large as the rate, whatever the gradient, so they want low rates."""
GRADIENT_STEPS = (1e-5, 1.0)


class _Optimizer(FrozenSpec):
    title: ClassVar[str]
    """Name in reports."""
    torch_class: ClassVar[str]
    """Its name in ``torch.optim``."""
    lr_range: ClassVar[tuple[float, float]]
    """Lowest and highest rate of an LR range test. Five decades hold what suits the networks here; more would
    leave fewer steps for each."""
    cycles_momentum: ClassVar[bool] = True
    """Whether it has a momentum, or beta1, that a policy can cycle."""

    weight_decay: NonNegativeFloat = 0.0
    """An L2 penalty on the weights; AdamW keeps it apart from the gradient."""

    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments of ``torch_class`` besides the rate and ``weight_decay``."""
        raise NotImplementedError

    def state_values(self) -> int:
        """Return how many values it keeps of each parameter."""
        return 1


class Sgd(_Optimizer):
    """Stochastic gradient descent with momentum."""

    title = "SGD"
    torch_class = "SGD"
    lr_range = GRADIENT_STEPS

    name: Literal["sgd"] = "sgd"
    momentum: float = Field(default=0.9, ge=0, lt=1)
    """Share of the last step that is added to the next one."""
    nesterov: bool = False
    """Whether the momentum is Nesterov's."""

    def arguments(self) -> dict[str, Any]:
        return {"momentum": self.momentum, "nesterov": self.nesterov, "fused": True}

    def state_values(self) -> int:
        return int(self.momentum > 0)


class _AdamFamily(_Optimizer):
    lr_range = SMALL_STEPS

    name: str
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the mean of gradients, Adam's momentum."""
    beta2: float = Field(default=0.999, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    epsilon: PositiveFloat = 1e-8
    """Added to the denominator of a step."""

    def arguments(self) -> dict[str, Any]:
        return {"betas": (self.beta1, self.beta2), "eps": self.epsilon, "fused": True}

    def state_values(self) -> int:
        return 2


class Adam(_AdamFamily):
    """Kingma & Ba 2015 (arXiv:1412.6980)."""

    title = "Adam"
    torch_class = "Adam"

    name: Literal["adam"] = "adam"


class AdamW(_AdamFamily):
    """Adam with decoupled weight decay, Loshchilov & Hutter 2019 (arXiv:1711.05101)."""

    title = "AdamW"
    torch_class = "AdamW"

    name: Literal["adamw"] = "adamw"
    weight_decay: NonNegativeFloat = 0.01


class RmsProp(_Optimizer):
    """Tieleman & Hinton 2012."""

    title = "RMSProp"
    torch_class = "RMSprop"
    lr_range = SMALL_STEPS

    name: Literal["rmsprop"] = "rmsprop"
    momentum: float = Field(default=0.0, ge=0, lt=1)
    """Share of the last step that is added to the next one."""
    smoothing: float = Field(default=0.99, ge=0, lt=1)
    """Decay of the mean of squared gradients."""
    epsilon: PositiveFloat = 1e-8
    """Added to the denominator of a step."""

    def arguments(self) -> dict[str, Any]:
        return {"alpha": self.smoothing, "momentum": self.momentum, "eps": self.epsilon}

    def state_values(self) -> int:
        return 1 + (self.momentum > 0)


class Adagrad(_Optimizer):
    """Duchi et al. 2011: the project's fourth optimizer, since the article names three of four."""

    title = "Adagrad"
    torch_class = "Adagrad"
    lr_range = GRADIENT_STEPS
    cycles_momentum = False

    name: Literal["adagrad"] = "adagrad"
    epsilon: PositiveFloat = 1e-10
    """Added to the denominator of a step."""

    def arguments(self) -> dict[str, Any]:
        return {"eps": self.epsilon}


Optimizer = Annotated[Sgd | Adam | AdamW | RmsProp | Adagrad, Field(discriminator="name")]
"""Any optimizer; in YAML its ``name`` says which."""

OPTIMIZERS: dict[str, type[_Optimizer]] = by_name(Optimizer)
OptimizerName = Annotated[str, WithJsonSchema({"type": "string", "enum": [*OPTIMIZERS]})]
