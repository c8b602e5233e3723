"""The report's first lines: does cyclical retraining beat its control, by how much, at what cost, how sure."""

from collections import Counter
from collections.abc import Iterable

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.bootstrap import RESAMPLES
from clr_hpc.reporting.stats.compare import Comparison, ContenderMean
from clr_hpc.reporting.stats.contrast import SIGNIFICANT, ArmContrast
from clr_hpc.reporting.stats.cost import Saving, saving
from clr_hpc.reporting.stats.scoring import ResultRow


def run_counts(study: StudyRecord) -> dict[str, int]:
    """Return how many runs are done, failed, unfinished and missing, in this order."""
    counts = Counter(run.status for run in study.runs)
    return {status: counts[status] for status in ("done", "failed", "unfinished", "missing")}


def verdict(contrasts: tuple[ArmContrast, ...]) -> str:
    """Return whether cyclical retraining beats its control, never surer than the intervals are."""
    compared = [contrast for contrast in contrasts if contrast.tasks and contrast.cyclical]
    if not compared:
        return "No answer yet: no cyclical retraining has a finished control on the same test images."
    ahead, level, behind = ([c.policy for c in compared if c.standing == standing] for standing in (1, 0, -1))
    findings = []
    if ahead:
        findings.append(f"{wording.listed(ahead)} {'beats' if len(ahead) == 1 else 'beat'} the control")
    if len(level) == 1:
        findings.append(f"no significant difference between {level[0]} and the control")
    elif level:
        findings.append(f"no significant difference from the control for {wording.listed(level)}")
    if behind:
        findings.append(f"{wording.listed(behind)} {'is' if len(behind) == 1 else 'are'} worse than the control")
    opening = "In part" if ahead and level + behind else "Yes" if ahead else "No" if behind else "Undecided"
    return (
        "Does cyclical retraining beat the control, which retrains the same weights for as long with a decaying "
        f"learning rate ({compared[0].control})? {opening}: {'; '.join(findings)}."
    )


def contrast_lines(contrasts: tuple[ArmContrast, ...], noun: str) -> list[str]:
    """Return one line per arm: by how much, on how many tasks, at what cost; ``noun`` is what a task is called."""
    compared = [contrast for contrast in contrasts if contrast.tasks]
    cyclical_first = sorted(compared, key=lambda contrast: not contrast.cyclical)
    return [_line(contrast, noun) for contrast in cyclical_first]


def _line(contrast: ArmContrast, noun: str) -> str:
    tasks = len(contrast.tasks)
    accuracy = contrast.training_accuracy_difference
    training = (
        f" Δ training accuracy (the article's measure): {wording.signed(accuracy)} "
        f"(95 % CI over training runs {wording.between(contrast.training_accuracy_interval)})."
        if accuracy == accuracy
        else ""
    )
    name = contrast.policy if contrast.cyclical else f"{contrast.policy} (not cyclical)"
    mean = f"mean over {wording.count(tasks, noun)}" if tasks > 1 else f"on {wording.count(tasks, noun)}"
    return (
        f"{name}: test ΔAUROC {wording.signed(contrast.difference)} "
        f"(95 % CI over patients {wording.between(contrast.interval)}; "
        f"over training runs {wording.between(contrast.training_interval)}), {mean}. "
        f"Significantly better on {contrast.better} of {tasks}, worse on {contrast.worse} "
        f"(DeLong's test, Holm-adjusted p < {SIGNIFICANT:g}).{training} {_cost(saving(contrast), noun)}"
    )


def _cost(cost: Saving, noun: str) -> str:
    if not cost.tasks:
        return f"Cost: on no {noun} is there a target to compare by."
    target = f"the baseline's best validation loss (measured {cost.measured})"
    reached = f"{cost.reached} of {cost.pairs} runs and {cost.control_reached} of their controls reached {target}"
    if not cost.reached + cost.control_reached:
        return f"Cost: {reached}, so the steps to it cannot be compared."
    at_start = f" {wording.count(cost.at_start, 'pair')} started at it." if cost.at_start else ""
    return (
        f"Cost: {reached}.{at_start} Restricted mean steps to it, where others count with their whole length: "
        f"{wording.whole(cost.restricted_steps)}, of the control {wording.whole(cost.control_restricted_steps)}, "
        f"of {wording.whole(cost.steps_of_training)} steps of training; difference "
        f"{wording.steps_apart(cost.steps_difference)} "
        f"(95 % CI over training runs {wording.between(cost.interval, wording.steps_apart)})."
    )


def one_class_line(rows: Iterable[ResultRow]) -> str:
    """Return the highest AUROC of each one-class task, with its interval; empty where there is none."""
    best: dict[str, ResultRow] = {}
    for row in rows:
        value, known = row.auroc.value, best.get(row.setting.task)
        if value == value and (known is None or value > known.auroc.value):
            best[row.setting.task] = row
    values = [f"{task} {wording.bounded(row.auroc.value, row.auroc.interval)}" for task, row in best.items()]
    return f"One-class models, highest test AUROC of each (95 % CI): {'; '.join(values)}." if values else ""


def contrast_caveats(contrasts: tuple[ArmContrast, ...]) -> list[str]:
    """Return what a reader must know before trusting the verdict."""
    if not any(contrast.tasks for contrast in contrasts):
        return []
    return [
        "“Beats” and “is worse” require both 95 % CIs of the mean ΔAUROC to exclude zero. The CI over patients is "
        "a bootstrap over test patients. The CI over training runs is Student's t over pathologies (over seeds, "
        "for a single pathology) and reflects sampling variability in training. DeLong's test reflects that of "
        "the test images alone; its p-values are adjusted for the number of pathologies, not of policies."
    ]


def ranking(comparison: Comparison, among: str) -> str:
    """Return which contender has the highest mean AUROC, never surer than the intervals are."""
    if not comparison.contenders:
        return (
            f"Nothing can be compared: no {among} has, under every policy, a finished run "
            "whose AUROC and interval are defined."
        )
    best, *others = comparison.contenders
    mean = wording.bounded(best.auroc, best.interval)
    standing = f"{mean}, over {wording.count(len(comparison.tasks), among)}"
    if not others:
        return f"Only {best.name} has results, so there is nothing to compare it with: mean AUROC {standing}."
    level = [other.name for other in others if not _is_behind(other)]
    leads = wording.listed(
        [f"{other.name} by {wording.bounded(other.ahead, other.ahead_interval)}" for other in others]
    )
    doubt = f", with no significant difference from {wording.listed(level)} on these patients" if level else ""
    return f"{best.name} has the highest mean test AUROC, {standing}{doubt}. It is ahead of {leads}."


def _is_behind(other: ContenderMean) -> bool:
    """Return whether the best one's lead on this one exceeds the sampling variability over patients."""
    return other.ahead_interval is not None and other.ahead_interval.excludes(0.0)


def caveats(comparison: Comparison) -> list[str]:
    """Return what a reader must know before trusting the first lines."""
    notes = []
    if comparison.contenders:
        seeds = (
            "One seed per model: another seed would change these numbers, which these intervals do not cover."
            if comparison.seeds == 1
            else f"Means over {comparison.seeds} seeds. The intervals cover the choice of patients, not of seeds."
        )
        notes.append(
            f"Policies are compared on {wording.count(comparison.runs_each, 'run')} each, with the same tasks, "
            f"models and seeds. Intervals hold 95 % of {RESAMPLES:,} bootstrap draws of test patients. {seeds}"
        )
    if comparison.contenders and comparison.absent:
        notes.append(f"Without a comparable run: {wording.listed(list(comparison.absent))}.")
    if comparison.left_out:
        notes.append(f"Left out of the means: {'; '.join(comparison.left_out)}.")
    return notes
