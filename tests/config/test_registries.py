"""What optimizers, networks and methods say of themselves, held against torch and against each other."""

from importlib import import_module
from itertools import product
from typing import get_args

import pytest
import torch
from torch.nn import Parameter

from clr_hpc.config.lr_range import RangeTest
from clr_hpc.config.network import NETWORKS, network, timm_names
from clr_hpc.config.optimizer import OPTIMIZERS
from clr_hpc.config.policy import POLICIES, Triangular, half_cycle_epochs
from clr_hpc.config.run import Stage
from clr_hpc.config.task import ONE_CLASS_METHODS
from clr_hpc.config.tune import Space
from clr_hpc.reporting.figures.tuning import SETTING_TITLES
from clr_hpc.reporting.wording import STAGE_TITLES
from clr_hpc.schedule.scheduler import apply_policy
from clr_hpc.training.optimizers import build_optimizer

WAVE = Triangular(lr_min=0.1, lr_max=1, half_cycle_epochs=1, momentum_min=0.8, momentum_max=0.9)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_an_optimizer_cycles_momentum_if_it_says_so(name: str) -> None:
    spec = OPTIMIZERS[name]()
    built = build_optimizer(spec, iter([Parameter(torch.ones(2))]))
    assert type(built).__name__ == spec.torch_class
    assert built.param_groups[0]["weight_decay"] == spec.weight_decay
    if spec.cycles_momentum:
        assert apply_policy(built, WAVE, 1) == (1.0, pytest.approx(0.8))
    else:
        with pytest.raises(ValueError, match="cycles momentum"):
            apply_policy(built, WAVE, 1)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_has_a_range_of_rates_to_test(name: str) -> None:
    ramp = RangeTest().ramp(name)
    assert (ramp.lr_min, ramp.lr_max) == OPTIMIZERS[name].lr_range


@pytest.mark.parametrize("name", POLICIES)
def test_a_policy_of_a_stage_fills_in_its_length(name: str) -> None:
    """What repeats has the length of a cycle, and what ends does so with the stage."""
    kind = POLICIES[name]
    required = {"lr_min": 0.1, "lr_max": 1.0, "step_epochs": 2.0}
    values = {field: value for field, value in required.items() if field in kind.model_fields}
    policy = kind.model_validate(values | kind.defaults(12))
    assert policy.cycle_epochs == (2 * half_cycle_epochs(12) if hasattr(policy, "half_cycle_epochs") else None)
    assert getattr(policy.lasting(5), "total_epochs", 5) == 5
    assert not policy.cycles_momentum
    if policy.is_cyclical:
        cycling = policy.model_copy(update={"momentum_min": 0.8, "momentum_max": 0.9})
        assert cycling.cycles_momentum
        assert cycling.momentum(0) == pytest.approx(0.9)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_can_be_built(name: str) -> None:
    module, function = network(name).build.split(":")
    assert callable(getattr(import_module(module), function))


def test_no_two_titles_are_the_same() -> None:
    registries = (OPTIMIZERS, POLICIES, NETWORKS, ONE_CLASS_METHODS)
    for one, other in product(registries, registries):
        titles = [entry.title for entry in (*one.values(), *(other.values() if other is not one else ()))]
        assert len(set(titles)) == len(titles)


def test_an_unknown_network_is_named_with_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"unknown architecture: 'densnet121'; did you mean 'densenet121'\?"):
        network("densnet121")


def test_reports_have_a_title_for_every_stage_and_searched_setting() -> None:
    assert set(STAGE_TITLES) == set(get_args(Stage))
    assert set(SETTING_TITLES) == set(Space.model_fields)


def test_names_read_from_the_files_of_timm_are_those_that_it_registers() -> None:
    from timm import list_models

    assert timm_names() == set(list_models())


def test_a_network_of_timm_goes_by_its_name_with_or_without_a_tag_of_weights() -> None:
    assert network("timm/resnet18").title == "resnet18 (timm)"
    assert network("timm/resnet18.a1_in1k").arguments["model_name"] == "resnet18.a1_in1k"
    with pytest.raises(ValueError, match=r"timm/resnet; timm .* has 1,\d{3}; did you mean timm/"):
        network("timm/resnet")
