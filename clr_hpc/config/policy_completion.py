"""What a study's file may leave out of a policy, and where it then comes from."""

from typing import Any

from pydantic import TypeAdapter

from clr_hpc.config.policy import Policy
from clr_hpc.config.range_test import AUTO, MeasuredRates

WANTED_CYCLES = 4
"""Smith 2017 (arXiv:1506.01186), section 3.2: three cycles do most of the work, four or more do better."""
SHORTEST_HALF_CYCLE_EPOCHS, LONGEST_HALF_CYCLE_EPOCHS = 2, 10
"""Of the same section, where the stage is long enough for it."""


class UnmeasuredRateError(ValueError):
    """A rate is ``auto`` and nothing was measured that it stands for."""


def complete(
    given: dict[str, Any], rates: dict[str, Any], epochs: int, optimizer: str, measured: MeasuredRates | None
) -> Policy:
    """Complete a policy of a study's file.

    Args:
        given: ``{name: ..., ...}``; what stands here wins.
        rates: ``lr_min`` and ``lr_max`` of the study for this optimizer; empty where it has none.
        epochs: that the policy's stage trains.
        optimizer: its name.
        measured: what ``auto`` stands for.

    Raises:
        UnmeasuredRateError: a rate is ``auto`` and ``measured`` is None.
        ValueError: there is no rate, or the policy can't be so.
    """
    if not rates and "lr_max" not in given:
        raise ValueError(f"no rate for {optimizer} with policy {given['name']}; add rates: {{{optimizer}: ...}}")
    wanted = _FIELDS[given["name"]]
    shared = rates | {"total_epochs": epochs, "half_cycle_epochs": half_cycle_epochs(epochs)}
    values = {name: value for name, value in shared.items() if name in wanted} | given
    for name in ("lr_min", "lr_max"):
        if values.get(name) == AUTO:
            if measured is None:
                raise UnmeasuredRateError(
                    f"{name} of {optimizer} with policy {given['name']} is auto, and no range test that suits was "
                    "made; 'clr-hpc range-test' makes it, and so does 'clr-hpc run' with --on here or ray"
                )
            values[name] = _measured(name, given["name"], measured)
    return _POLICY.validate_python(values)


def half_cycle_epochs(epochs: int) -> float:
    """Return half a cycle for a stage of ``epochs``, a whole number of cycles, so that it ends at a wave's foot.

    Four cycles, or as near to it as leaves half a cycle between 2 and 10 epochs; one cycle where that is not to be
    had.
    """
    fewest = -(-epochs // (2 * LONGEST_HALF_CYCLE_EPOCHS))
    most = epochs // (2 * SHORTEST_HALF_CYCLE_EPOCHS)
    cycles = max(1, min(max(WANTED_CYCLES, fewest), most))
    return epochs / (2 * cycles)


def _measured(name: str, policy: str, measured: MeasuredRates) -> float:
    """Return what ``auto`` stands for: waves move between two bounds, other policies start at one rate."""
    if name == "lr_min":
        return measured.lr_min
    return measured.lr_max if policy in _WAVES else measured.lr


_POLICY: TypeAdapter[Policy] = TypeAdapter(Policy)
_FIELDS: dict[str, set[str]] = {
    model.model_fields["name"].default: set(model.model_fields)
    for model in Policy.__origin__.__args__  # type: ignore[attr-defined]
}
_WAVES = {name for name, fields in _FIELDS.items() if "momentum_max" in fields}
