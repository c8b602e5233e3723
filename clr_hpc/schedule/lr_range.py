"""What an LR range test shows: where the loss begins to fall, where it stops being low, and when neither is clear.

Smith 2017 (arXiv:1506.01186), section 3.3, reads both bounds off a plot by eye: where the loss begins to fall, and
where it slows or turns ragged. Here they are shares of the fall, so that they change neither with the scale of the
loss nor with that of the rate. Between slowing and turning ragged there can be decades in which the loss lies on
the floor of what a short test can learn. All their rates train well, so that the turn is the bound, where there is
one. It lies where half of the fall is lost again: what a loss loses by swinging at a high rate comes back when a
cycle lowers it (docs/explanation/lr-range.md, "Do the bounds help?").

A batch's loss says as much of the batch as of the network: with a rare finding, positives come in lumps. So each
loss is divided by that of a network that saw the same batches and never learned. The curve of the quotients starts
at 1, and what is left of the noise is measured on it. It is smoothed by a mean of neighbours on both sides, which
does not lag behind the rate, as running means of the past do:

    R(i) = sum of K((i - j) / h) * loss(j) over j / sum of K((i - j) / h) * untrained(j) over j

with the tricube K (Cleveland 1979). Rates, or their logarithms, must be evenly spaced.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from clr_hpc.schedule.divergence import stable_rate

SMOOTHED_SHARE = 0.08
"""Share of all records: half the width of the smoothing."""
FEWEST_RECORDS = 40
BEGUN, STOPPED, HELD = 0.1, 0.9, 0.5
"""Shares of the whole fall: where it begins, stops, and where so much is left when the loss rises again."""
STOPPED_AT_LEAST = 0.75
"""The share that counts as stopped where noise is strong."""
SURE = 5.0
"""Standard errors that the fall must have: the largest of some twenty, each estimated from few losses. Of 300 flat
curves drawn with strong noise, two then pass."""
LOWER_WITHOUT_CYCLE = 3.0
"""A cycle only touches its upper bound; what stays at a rate must keep away from where the loss turns. Smith 2017,
section 3.3, takes a third or a quarter of the upper bound as the lower one of a narrow cycle."""
STABLE_SHARE = 0.8
"""Of the highest stable rate, which a loss that diverges allows to be estimated within some 20 %."""
SURE_RISE = 3.0
"""Standard errors by which the loss must have risen again to have turned."""
SMALLEST_FALL = 0.02
"""Share of the untrained loss."""
RAGGED_RISE = 0.5
"""Share of the fall so far: after a larger rise, the rest of the curve is ragged, however low."""
LARGEST_QUOTIENT = 4.0
"""Higher ones count as this, so that a single loss on the way to infinity doesn't drown its neighbours."""


@dataclass(frozen=True)
class Curve:
    """One test: ``(N,)`` each, in the order of the test."""

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    untrained: NDArray[np.float64]
    """Losses of a network that doesn't learn, on the same batches."""
    diverged: bool = False
    constant_answer: float | None = None
    """The loss of the best constant prediction, where the task has one."""
    steps_per_record: int = 1
    """Optimizer steps whose mean loss is one of ``losses``."""

    @property
    def constant_level(self) -> float | None:
        """That loss as a share of the untrained one."""
        if self.constant_answer is None or not len(self.untrained):
            return None
        return self.constant_answer / float(self.untrained.mean())

    def smoothed(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the smoothed loss as a share of the untrained one ``(N,)``, and its standard error ``(N,)``."""
        count = len(self.rates)
        half_width = max(3.0, SMOOTHED_SHARE * count)
        place = np.arange(count)
        distance = np.minimum(np.abs(place[:, None] - place) / half_width, 1.0)
        weights = (1 - distance**3) ** 3 * self.untrained
        weights /= weights.sum(axis=1, keepdims=True)
        quotients = np.minimum(self.losses / self.untrained, LARGEST_QUOTIENT)
        level = weights @ quotients
        return level, np.sqrt(weights**2 @ (quotients - level) ** 2)


Then = Literal["loses half", "rises", "diverges", "stays"]
"""After its fall the loss may rise until half of the fall is lost; or less far, or so abruptly that only the
test's end shows it, and ``lr_max`` is the last rate that has nine tenths of it; or stay low, and ``lr_max`` is the
first such rate. Where it diverges, ``lr_max`` is a stable rate, too."""


@dataclass(frozen=True)
class Suggestion:
    """Rates read off one curve or, as medians, off those of several seeds."""

    lr_min: float
    """Rate at which the loss has begun to fall: a tenth of the fall."""
    lr: float
    """Rate of constant and decaying policies: a third of ``lr_max``, at least the bounds' geometric mean."""
    lr_max: float
    """The last rate with half of the fall before the loss turns up; else what ``then`` says."""
    fall: float
    """Fall of the loss, as a share of the untrained one."""
    then: Then
    reason: str


@dataclass(frozen=True)
class Refusal:
    """Why no rate can be read off a curve, and what to change."""

    reason: str


def suggest(curve: Curve, then: Then | None = None) -> Suggestion | Refusal:
    """Read both bounds of a cyclical policy, and a rate for others, off the curve of one test.

    Args:
        curve: of the test.
        then: what the loss does after its fall, where that is known already.
    """
    rates, count = curve.rates, len(curve.rates)
    if count < FEWEST_RECORDS:
        end = f"the loss diverged after {count} losses" if curve.diverged else f"the test has {count} losses"
        return Refusal(
            f"{end}, and {FEWEST_RECORDS} are needed; raise range_test.epochs, or lower the rates tested"
        )
    level, error = curve.smoothed()
    lowest, turn = _lowest(level, error)
    if not _is_sure(level, error, lowest):
        return _no_fall(curve, float(1 - level[lowest]), float(error[lowest]))
    falling = _falling(level[: lowest + 1])
    fall = 1 - falling[-1]
    begun = int(np.argmax(falling <= 1 - BEGUN * fall))
    # which place of a plateau is lowest is a matter of chance, and so is how low it is
    share = max(STOPPED_AT_LEAST, STOPPED - 3 * error[lowest] / fall)
    low_enough = 1 - share * fall
    stopped = int(np.argmax(falling <= low_enough))
    then, last = _end(curve, level, error, (lowest, turn), (1 - HELD * fall, low_enough), stopped, then)
    if begun == 0:
        return Refusal(
            f"the loss falls from the first rate on, {rates[0]:.2g}, so that where it begins to fall lies below; "
            "lower lr_min in range_test.rates"
        )
    if stopped >= 0.9 * count and then == "stays" and not curve.diverged:
        return Refusal(
            f"the loss still falls at the last rate, {rates[-1]:.2g}, so that where it stops lies above; "
            "raise lr_max in range_test.rates"
        )
    lr_min, lr_max = float(rates[begun]), float(rates[last])
    stable = math.inf
    if curve.diverged:
        stable = STABLE_SHARE * stable_rate(
            rates, curve.losses / curve.untrained, curve.steps_per_record, float(level[lowest]), 1 - HELD * fall
        )
    lr_max = min(lr_max, stable)
    if not lr_min < lr_max:
        return Refusal(f"the loss falls within one step of the test, at {lr_min:.2g}; raise range_test.epochs")
    end = {
        "loses half": f"half is lost again above {rates[last]:.2g}",
        "rises": f"it rises above {rates[last]:.2g}",
        "diverges": "it diverges",
        "stays": "it stays, so that higher rates may do, too",
    }[then]
    if curve.diverged and then != "diverges":
        end = f"{end}, and it diverges"
    held = f", and steps are stable up to {stable:.2g}" if stable < rates[last] else ""
    of_frequency = _of_frequency(curve, float(level[lowest]), float(error[lowest]))
    return Suggestion(
        lr_min,
        max(float(np.sqrt(lr_min * lr_max)), lr_max / LOWER_WITHOUT_CYCLE),
        lr_max,
        float(fall),
        then,
        f"the loss falls by {fall:.0%}: a tenth of that by {lr_min:.2g}, {share:.0%} by {rates[stopped]:.2g}"
        f"{held}; then {end}{of_frequency}",
    )


def _of_frequency(curve: Curve, level: float, error: float) -> str:
    """Say what part of a fall one answer for all images has, which knows only how frequent positives are."""
    constant = curve.constant_level
    if constant is None or constant > 1 - SMALLEST_FALL:
        return ""
    if level + 2 * error < constant:
        return f"; of the fall, {(1 - constant) / (1 - level):.0%} is learning how frequent positives are"
    return (
        f"; it falls no lower than one answer for all images would, to {constant:.0%}: all that is learned here "
        "is how frequent positives are, and the rates say little of learning more"
    )


def _lowest(level: NDArray[np.float64], error: NDArray[np.float64]) -> tuple[int, int | None]:
    """Return where the curve is surely lowest before it turns ragged, and where it does.

    Surely: two standard errors above it, since where a curve grows ragged its lowest place is a matter of chance.
    """
    lowest, at_most = 0, level + 2 * error
    for place in range(len(level)):
        if at_most[place] < at_most[lowest]:
            lowest = place
        rise = level[place] - level[lowest]
        is_ragged = rise > RAGGED_RISE * (1 - level[lowest]) and rise > 2 * np.hypot(error[place], error[lowest])
        if is_ragged and _is_sure(level, error, lowest):
            return lowest, place
    return lowest, None


def _end_of_floor(
    level: NDArray[np.float64], error: NDArray[np.float64], lowest: int, turn: int | None, low_enough: float
) -> tuple[int, bool]:
    """Return the last place after the lowest that is low enough, and whether the curve surely rises from there.

    The nearest curve that never falls decides, up to where the loss turns ragged.
    """
    until = len(level) if turn is None else turn + 1
    stays = int((-_falling(-level[lowest:until]) <= low_enough).sum())
    rise = (level - level[lowest]) / np.hypot(error, error[lowest])
    return lowest + stays - 1, lowest + stays < until and float(rise[lowest:].max()) > SURE_RISE


def _end(
    curve: Curve,
    level: NDArray[np.float64],
    error: NDArray[np.float64],
    turning: tuple[int, int | None],
    enough: tuple[float, float],
    stopped: int,
    then: Then | None,
) -> tuple[Then, int]:
    """Return what the loss does after its fall, and the place of the last rate that is good enough for that.

    Args:
        curve: of the test, with its smoothed ``level`` and the ``error`` of that.
        turning: where it is lowest, and where it turns ragged.
        enough: levels that keep half of the fall, and nine tenths.
        stopped: the place where the fall reaches nine tenths.
        then: what the loss does, where that is known already.
    """
    last_half, loses_half = _end_of_floor(level, error, *turning, enough[0])
    last_low, rises = _end_of_floor(level, error, *turning, enough[1])
    if then is None:
        seen: Then = "diverges" if curve.diverged else "stays"
        then = "loses half" if loses_half else "rises" if rises else seen
    low = max(stopped, last_low)
    return then, {"loses half": last_half, "rises": low, "diverges": low, "stays": stopped}[then]


def _is_sure(level: NDArray[np.float64], error: NDArray[np.float64], place: int) -> bool:
    fall = 1 - level[place]
    return bool(fall >= SMALLEST_FALL and fall >= SURE * error[place])


def _falling(level: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the curve that never rises and is nearest to this one.

    It comes to each level once, whatever the noise.
    """
    from scipy.optimize import isotonic_regression

    nearest: NDArray[np.float64] = isotonic_regression(level, increasing=False).x
    return nearest


def _no_fall(curve: Curve, fall: float, error: float) -> Refusal:
    if curve.diverged:
        return Refusal(
            f"the loss diverges at {curve.rates[-1]:.2g} without having fallen before; lower both rates in "
            "range_test.rates, so that the test stays longer where it could fall"
        )
    return Refusal(
        f"the curve is flat: the loss falls by {max(fall, 0.0):.1%} of the untrained one at most, with a standard "
        f"error of {error:.1%}, and {SMALLEST_FALL:.0%} and {SURE:g} standard errors are needed; raise "
        "range_test.epochs, narrow range_test.rates, or name another range_test.pathology"
    )
