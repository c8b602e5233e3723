"""How far below the limit of stability LR range tests suggest their upper bound, for tests of 200 to 1,000 steps.

    python benchmarks/lr_limit.py [--groups N]

Gradient descent on quadratics diverges above 2 (1 + momentum) / curvature. Prints the suggestion of three seeds as
a ratio to that limit: median and range over curvatures of four decades, apart and in one quadratic, with and
without a floor, noise and momentum. For comparison, the same for two rules of fastai's learner.lr_find: "minimum"
(a tenth of the rate of the lowest loss) and "steep". Two minutes.
"""

from collections.abc import Callable, Iterator
from itertools import product

import numpy as np

from clr_hpc.schedule.lr_agreement import Agreement, agree
from clr_hpc.schedule.lr_range import Curve
from parts.command import parser
from parts.quadratics import limit, range_test

STEPS = 200, 300, 400, 600, 800, 1000
CURVATURES = *((4.0 * 10**decade,) for decade in range(5)), tuple(np.geomspace(0.04, 400, 40))
"""Of one dimension, and of forty."""
Settings = dict[str, float]
SETTINGS: dict[str, Settings] = {
    "no noise": {},
    "a floor": {"floor": 1.0},
    "noise 1 %": {"noise": 0.01},
    "noise 10 %, a floor": {"noise": 0.1, "floor": 1.0},
    "momentum 0.9": {"momentum": 0.9},
    "momentum 0.9, noise 1 %, a floor": {"momentum": 0.9, "noise": 0.01, "floor": 1.0},
}


def ours(curves: list[Curve]) -> float:
    """Return the project's upper bound; NaN where it refuses."""
    found = agree(curves)
    return found.suggestion.lr_max if isinstance(found, Agreement) else float("nan")


def smoothed(curve: Curve) -> np.ndarray:
    """Return the exponential mean that fastai's recorder has, with beta 0.98, without bias."""
    mean, means = 0.0, []
    for step, loss in enumerate(curve.losses, start=1):
        mean = 0.98 * mean + 0.02 * loss
        means.append(mean / (1 - 0.98**step))
    return np.array(means)


def minimum(curves: list[Curve]) -> float:
    """Return a tenth of the rate of the lowest loss."""
    return float(np.median([curve.rates[smoothed(curve).argmin()] / 10 for curve in curves]))


def steep(curves: list[Curve]) -> float:
    """Return the rate at which the loss falls fastest over the rate's logarithm."""
    slopes = [np.diff(smoothed(curve)) / np.diff(np.log(curve.rates)) for curve in curves]
    return float(np.median([curve.rates[slope.argmin()] for curve, slope in zip(curves, slopes, strict=True)]))


def ratios(rule: Callable[[list[Curve]], float], settings: Settings, steps: int, groups: int) -> Iterator[float]:
    """Yield suggestion / limit for each quadratic and group of three seeds."""
    for curvatures, group in product(CURVATURES, range(groups)):
        curves = [range_test(curvatures, steps, **settings, seed=3 * group + seed) for seed in range(3)]
        yield rule(curves) / limit(curvatures, settings.get("momentum", 0.0))


def cell(values: list[float]) -> str:
    """Write median, range and how many there are not."""
    known = [value for value in values if value == value]
    none = f", {len(values) - len(known)} none" if len(known) < len(values) else ""
    return f"{np.median(known):.2f} ({min(known):.2f} to {max(known):.2f}{none})"


def main() -> None:
    """Print the table."""
    command = parser(__doc__)
    command.add_argument("--groups", type=int, default=5, help="of three seeds (default: 5)")
    options = command.parse_args()
    print("| rule | quadratic |", " | ".join(f"{steps} steps" for steps in STEPS), "|")
    print("|---" * (2 + len(STEPS)) + "|")
    for rule in (ours, minimum, steep):
        for name, settings in SETTINGS.items():
            cells = [cell(list(ratios(rule, settings, n, options.groups))) for n in STEPS]
            print(f"| {rule.__name__} | {name} |", " | ".join(cells), "|", flush=True)


if __name__ == "__main__":
    main()
