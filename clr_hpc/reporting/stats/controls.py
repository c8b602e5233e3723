"""Which control a retraining is compared with, and how their peak rates relate."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.scoring import ScoredRun


class Controls:
    """The controls of a study: one for each start, or one for each start and peak rate."""

    def __init__(self, runs: Iterable[ScoredRun]) -> None:
        """Take the controls among ``runs``."""
        self._by_start: dict[str, list[ScoredRun]] = defaultdict(list)
        for run in runs:
            if run.record.spec.stage == "control":
                self._by_start[_start(run)].append(run)

    def get(self, run: ScoredRun) -> ScoredRun | None:
        """Return the control of a retraining: the only one of its start, or that which peaks at the same rate."""
        of_start = self._by_start.get(_start(run), [])
        if len(of_start) == 1:
            return of_start[0]
        return next((one for one in of_start if _peak(one) == _peak(run)), None)


def control_label(pairs: Sequence[tuple[ScoredRun, ScoredRun]]) -> str:
    """Name the control's policy, and say whether its peak rate is another than the retraining's or the baseline's.

    Args:
        pairs: retrainings, each with its control.
    """
    name = " or ".join(dict.fromkeys(control.setting.policy for _, control in pairs))
    shares = [_peak(control) / _peak(retrained) for retrained, control in pairs]
    is_own = any(_peak(control) != _baseline_peak(control) for _, control in pairs)
    if any(share != 1 for share in shares):
        own = ", set in the study" if is_own else ""
        return f"{name}, peak rate {wording.span(min(shares), max(shares), '.2g')} times the retraining's{own}"
    return f"{name}, rate-matched: the retraining's peak rate" if is_own else name


def _start(run: ScoredRun) -> str:
    """Return what a retraining and its control have in common: everything but the policy and the stage."""
    return run.record.spec.model_dump_json(exclude={"policy", "stage"})


def _peak(run: ScoredRun) -> float:
    return run.record.spec.policy.lr_max


def _baseline_peak(run: ScoredRun) -> float:
    start = run.record.spec.start
    return _peak(run) if start is None else start.baseline.policy.lr_max
