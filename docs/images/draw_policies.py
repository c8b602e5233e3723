"""Draw every policy into ``policies.svg`` beside this file, or into the file that is named.

python docs/images/draw_policies.py
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from clr_hpc.config.policy import (
    Constant,
    Cosine,
    Exponential,
    ExpRange,
    InverseTime,
    OneCycle,
    Policy,
    Ramp,
    Step,
    Triangular,
    Triangular2,
    Triangular2Modified,
)
from clr_hpc.schedule.policies import learning_rate, momentum

EPOCHS = 16
WAVE = {"lr_min": 0.001, "lr_max": 0.01, "momentum_min": 0.85, "momentum_max": 0.95}
DRAWN: tuple[Policy, ...] = (
    Constant(lr_max=0.01),
    Step(lr_max=0.01, step_epochs=4, gamma=0.5),
    Exponential(lr_max=0.01, gamma=0.8),
    InverseTime(lr_max=0.01, decay=0.5),
    Cosine(lr_max=0.01, total_epochs=14),
    Triangular(**WAVE, half_cycle_epochs=2),
    Triangular2(**WAVE, half_cycle_epochs=2),
    Triangular2Modified(**WAVE, half_cycle_epochs=2, floor=0.4),
    ExpRange(**WAVE, half_cycle_epochs=2, gamma=0.93),
    OneCycle(**WAVE, total_epochs=14),
    Ramp(lr_min=0.0001, lr_max=0.01, total_epochs=14),
)


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
    figure = Figure(figsize=(11, 4.2), layout="constrained")
    grid = figure.subplots(2, 6, sharex=True, sharey=True)
    momenta = [draw(axes, policy) for axes, policy in zip(grid.flat, DRAWN, strict=False)]
    grid.flat[-1].set_axis_off()
    last = [axes for axes in momenta if axes is not None][-1]
    last.set(yticks=[0.85, 0.95])
    last.set_ylabel("momentum", color="tab:orange", y=0.82)
    figure.supxlabel("progress in epochs")
    figure.supylabel("learning rate", color="tab:blue")
    figure.savefig(file, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("policies.svg"))
