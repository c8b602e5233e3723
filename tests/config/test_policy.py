import pytest
from pydantic import TypeAdapter, ValidationError

from clr_hpc.config.policy import POLICIES, Policy, Triangular

ANY_POLICY: TypeAdapter[Policy] = TypeAdapter(Policy)


def test_every_policy_is_found_by_its_name() -> None:
    assert [kind.__name__ for kind in POLICIES.values()] == [kind.__name__ for kind in Policy.__origin__.__args__]
    assert len({kind.title for kind in POLICIES.values()}) == len(POLICIES)


def test_yaml_name_chooses_the_policy() -> None:
    values = {"name": "triangular", "lr_min": 0.1, "lr_max": 1, "half_cycle_epochs": 2}
    assert ANY_POLICY.validate_python(values) == Triangular(lr_min=0.1, lr_max=1, half_cycle_epochs=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr_max": 0.05}, r"lr_max=0.05 must be above lr_min=0.1"),
        ({"lr_max": float("nan")}, "finite"),
        ({"half_cycle_epochs": 0}, "greater than 0"),
        ({"momentum_min": 0.8}, "give both"),
        ({"momentum_min": 0.9, "momentum_max": 0.8}, "must not be below"),
        ({"half_cycle": 2}, "did you mean 'half_cycle_epochs'"),
    ],
)
def test_mistakes_are_named(change: dict[str, float], message: str) -> None:
    values = {"lr_min": 0.1, "lr_max": 1.0, "half_cycle_epochs": 2} | change
    with pytest.raises(ValidationError, match=message):
        Triangular.model_validate(values)
