"""Draw every policy into ``policies.svg`` beside this file, or into the file that is named.

python docs/images/draw_policies.py
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from pydantic import TypeAdapter

from clr_hpc.config.policy import POLICIES, Policy
from clr_hpc.schedule.policies import learning_rate, momentum

EPOCHS = 16
ROWS = 2
COMMON = {
    "lr_min": 0.001,
    "lr_max": 0.01,
    "momentum_min": 0.85,
    "momentum_max": 0.95,
    "half_cycle_epochs": 2,
    "step_epochs": 4,
    "total_epochs": 14,
}
"""Settings of every policy that has them; what neither this nor ``OWN`` names keeps its default."""
OWN: dict[str, dict[str, float]] = {
    "step": {"gamma": 0.5},
    "exponential": {"gamma": 0.8},
    "cosine": {"lr_min": 0},
    "triangular2_modified": {"floor": 0.4},
    "exp_range": {"gamma": 0.93},
    "ramp": {"lr_min": 0.0001},
}


def drawn() -> list[Policy]:
    """Return every policy with the settings that it is drawn with."""
    anything: TypeAdapter[Policy] = TypeAdapter(Policy)
    return [
        anything.validate_python(
            {"name": name}
            | {key: value for key, value in COMMON.items() if key in kind.model_fields}
            | OWN.get(name, {})
        )
        for name, kind in POLICIES.items()
    ]


def draw(axes: Axes, policy: Policy) -> Axes | None:
    """Draw the rate, and above it the momentum on axes of its own, which are returned."""
    progress = np.linspace(0, EPOCHS, 20 * EPOCHS + 1).tolist()
    axes.plot(progress, [learning_rate(policy, t) for t in progress], color="tab:blue")
    axes.set(title=policy.name, xlim=(0, EPOCHS), ylim=(0, 0.0155))
    axes.set(xticks=range(0, EPOCHS + 1, 4), yticks=[0, 0.005, 0.01])
    if momentum(policy, 0) is None:
        return None
    against = axes.twinx()
    against.plot(progress, [momentum(policy, t) for t in progress], color="tab:orange")
    against.set(ylim=(0.57, 0.97), yticks=[])
    return against


def main(file: Path) -> None:
    mpl.rcParams.update({"svg.hashsalt": "policies", "svg.fonttype": "none"})
    policies = drawn()
    columns = -(-len(policies) // ROWS)
    figure = Figure(figsize=(11 / 6 * columns, 4.2), layout="constrained")
    grid = figure.subplots(ROWS, columns, sharex=True, sharey=True)
    momenta = [draw(axes, policy) for axes, policy in zip(grid.flat, policies, strict=False)]
    for axes in grid.flat[len(policies) :]:
        axes.set_axis_off()
    last = [axes for axes in momenta if axes is not None][-1]
    last.set(yticks=[0.85, 0.95])
    last.set_ylabel("momentum", color="tab:orange", y=0.82)
    figure.supxlabel("progress in epochs")
    figure.supylabel("learning rate", color="tab:blue")
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("policies.svg"))
