"""The first lines of the report: what was compared, which policy is ahead, and how sure that is."""

from collections import Counter

from clr_hpc.reporting import wording
from clr_hpc.reporting.collect import StudyRecord
from clr_hpc.reporting.compare import Comparison, PolicyMean
from clr_hpc.reporting.statistics import RESAMPLES


def run_counts(study: StudyRecord) -> dict[str, int]:
    """Return how many runs are done, failed, unfinished and missing, in this order."""
    counts = Counter(run.status for run in study.runs)
    return {status: counts[status] for status in ("done", "failed", "unfinished", "missing")}


def verdict(comparison: Comparison) -> str:
    """Return the answer in one or two sentences, never surer than the intervals are."""
    if not comparison.policies:
        return (
            "Nothing can be compared: no pathology has, under every policy, a finished run "
            "whose AUROC and interval are defined."
        )
    best, *others = comparison.policies
    scope = f"over {_pathologies(len(comparison.pathologies))}"
    standing = f"{number_with_interval(best)} {scope}"
    if not others:
        return f"Only {best.policy} has results, so there is nothing to compare it with: mean AUROC {standing}."
    level = [policy for policy in others if not _is_behind(policy)]
    leads = wording.listed([_lead(policy) for policy in others])
    if not level:
        return f"{best.policy} has the highest mean validation AUROC, {standing}. It is ahead of {leads}."
    names = wording.listed([policy.policy for policy in level])
    return (
        f"{best.policy} has the highest mean validation AUROC, {standing}, "
        f"but it can't be told from {names} on these patients. It is ahead of {leads}."
    )


def caveats(comparison: Comparison) -> list[str]:
    """Return what a reader must know before trusting the verdict."""
    said = []
    if comparison.policies:
        seeds = (
            "One seed a model: another seed would move these numbers, and no interval here says how far."
            if comparison.seeds == 1
            else f"Means over {comparison.seeds} seeds. The intervals cover the choice of patients, not of seeds."
        )
        runs = wording.count(comparison.runs_a_policy, "run")
        said.append(
            f"Compared: {runs} a policy, the same pathologies, models and seeds for each. Intervals hold 95 % of "
            f"{RESAMPLES:,} bootstrap draws of validation patients. {seeds}"
        )
    if comparison.policies and comparison.absent_policies:
        said.append(f"Without a comparable run: {wording.listed(list(comparison.absent_policies))}.")
    if comparison.left_out:
        said.append(f"Left out of the means: {'; '.join(comparison.left_out)}.")
    return said


def number_with_interval(policy: PolicyMean) -> str:
    """Write ``0.741 (0.712 to 0.769)``."""
    return f"{wording.number(policy.auroc)} ({wording.between(policy.interval)})"


def _is_behind(policy: PolicyMean) -> bool:
    """Return whether the best policy's lead on this one is more than the patients' chance."""
    return policy.ahead_interval is not None and policy.ahead_interval.excludes(0.0)


def _lead(policy: PolicyMean) -> str:
    lead = f"{wording.number(policy.ahead)} ({wording.between(policy.ahead_interval)})"
    return f"{policy.policy} by {lead}"


def _pathologies(count: int) -> str:
    return "1 pathology" if count == 1 else f"{count} pathologies"
