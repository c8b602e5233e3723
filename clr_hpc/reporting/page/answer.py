"""The report's first lines: does cyclical retraining beat its control, by how much, at what cost, how sure."""

from collections import Counter
from collections.abc import Iterable

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.bootstrap import RESAMPLES, Interval
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
        return "Nothing can be said yet: no cyclical retraining has a finished control on the same test images."
    ahead, level, behind = ([c.policy for c in compared if c.standing == standing] for standing in (1, 0, -1))
    control = compared[0].control
    told = []
    if ahead:
        told.append(f"{wording.listed(ahead)} {_beat(ahead, 'beats', 'beat')} it")
    if level:
        told.append(f"{wording.listed(level)} can't be told from it")
    if behind:
        told.append(f"{wording.listed(behind)} {_beat(behind, 'falls', 'fall')} behind it")
    opening = "Yes" if ahead and not level + behind else "In part" if ahead else "No"
    return (
        "Does cyclical retraining beat the control, which retrains the same weights for as long with the "
        f"decaying rate ({control})? {opening}: {'; '.join(told)}."
    )


def _beat(arms: list[str], one: str, several: str) -> str:
    return one if len(arms) == 1 else several


def contrast_lines(contrasts: tuple[ArmContrast, ...], noun: str) -> list[str]:
    """Return a line an arm: by how much, on how many tasks, at what cost; ``noun`` is what a task is called."""
    compared = [contrast for contrast in contrasts if contrast.tasks]
    cyclical_first = sorted(compared, key=lambda contrast: not contrast.cyclical)
    return [_line(contrast, noun) for contrast in cyclical_first]


def _line(contrast: ArmContrast, noun: str) -> str:
    tasks = len(contrast.tasks)
    over = wording.count(tasks, noun)
    gain = (
        f"{wording.signed(contrast.difference)} ({wording.between(contrast.interval)} by chance in patients, "
        f"{wording.between(contrast.training_interval)} by chance in training)"
    )
    accuracy = contrast.training_accuracy_difference
    training = (
        f" Training accuracy, the article's measure: "
        f"{_with_interval(accuracy, contrast.training_accuracy_interval)}."
        if accuracy == accuracy
        else ""
    )
    name = contrast.policy if contrast.cyclical else f"{contrast.policy} (not cyclical)"
    return (
        f"{name}: mean test AUROC {gain} over {over}; better on {contrast.better} and worse on "
        f"{contrast.worse} of {tasks} (DeLong, Holm-adjusted p < {SIGNIFICANT:g}).{training} "
        f"{_cost(saving(contrast), noun)}"
    )


def _with_interval(difference: float, bounds: Interval | None) -> str:
    return f"{wording.signed(difference)} ({wording.between(bounds)})"


def _cost(cost: Saving, noun: str) -> str:
    target = "the baseline's best validation loss"
    reached = f"reached by {cost.reached} of {cost.pairs} runs and {cost.control_reached} of their controls"
    if not cost.tasks:
        return f"Cost: {target} was {reached}; the steps to it can't be compared, since on no {noun} did both."
    bounds = f" ({wording.between(cost.interval, 2)})" if cost.interval else ""
    return (
        f"Cost: steps to {target} are {wording.number(cost.ratio, 2)}{bounds} times the control's, where both "
        f"reach it ({wording.count(cost.tasks, noun)}); it was {reached}."
    )


def one_class_line(rows: Iterable[ResultRow]) -> str:
    """Return the highest AUROC of each one-class task, with its interval; empty where there is none."""
    best: dict[str, ResultRow] = {}
    for row in rows:
        value, known = row.auroc.value, best.get(row.setting.task)
        if value == value and (known is None or value > known.auroc.value):
            best[row.setting.task] = row
    told = [
        f"{task} {wording.number(row.auroc.value)} ({wording.between(row.auroc.interval)})"
        for task, row in best.items()
    ]
    return f"One-class models, the highest test AUROC of each: {'; '.join(told)}." if told else ""


def contrast_caveats(contrasts: tuple[ArmContrast, ...]) -> list[str]:
    """Return what a reader must know before trusting the verdict."""
    if not any(contrast.tasks for contrast in contrasts):
        return []
    return [
        "“Beats” and “falls behind” need both intervals of the mean difference to leave out zero: the bootstrap "
        "over test patients, and Student's over pathologies (over seeds, of a single pathology), which feels the "
        "chance in training. DeLong's test feels the chance in test images alone; it is adjusted for the number "
        "of pathologies, not for the number of policies."
    ]


def ranking(comparison: Comparison, among: str) -> str:
    """Return which contender has the highest mean AUROC, never surer than the intervals are."""
    if not comparison.contenders:
        return (
            f"Nothing can be compared: no {among} has, under every arm, a finished run "
            "whose AUROC and interval are defined."
        )
    best, *others = comparison.contenders
    standing = f"{number_with_interval(best)} over {wording.count(len(comparison.tasks), among)}"
    if not others:
        return f"Only {best.name} has results, so there is nothing to compare it with: mean AUROC {standing}."
    level = [other for other in others if not _is_behind(other)]
    leads = wording.listed([_lead(other) for other in others])
    if not level:
        return f"{best.name} has the highest mean test AUROC, {standing}. It is ahead of {leads}."
    names = wording.listed([other.name for other in level])
    return (
        f"{best.name} has the highest mean test AUROC, {standing}, "
        f"but it can't be told from {names} on these patients. It is ahead of {leads}."
    )


def caveats(comparison: Comparison) -> list[str]:
    """Return what a reader must know before trusting the first lines."""
    said = []
    if comparison.contenders:
        seeds = (
            "One seed a model: another seed would move these numbers, and no interval here says how far."
            if comparison.seeds == 1
            else f"Means over {comparison.seeds} seeds. The intervals cover the choice of patients, not of seeds."
        )
        runs = wording.count(comparison.runs_each, "run")
        said.append(
            f"Side by side: {runs} each, of the same tasks, models and seeds. Intervals hold 95 % of "
            f"{RESAMPLES:,} bootstrap draws of test patients. {seeds}"
        )
    if comparison.contenders and comparison.absent:
        said.append(f"Without a comparable run: {wording.listed(list(comparison.absent))}.")
    if comparison.left_out:
        said.append(f"Left out of the means: {'; '.join(comparison.left_out)}.")
    return said


def number_with_interval(mean: ContenderMean) -> str:
    """Write ``0.741 (0.712 to 0.769)``."""
    return f"{wording.number(mean.auroc)} ({wording.between(mean.interval)})"


def _is_behind(other: ContenderMean) -> bool:
    """Return whether the best one's lead on this one is more than the patients' chance."""
    return other.ahead_interval is not None and other.ahead_interval.excludes(0.0)


def _lead(other: ContenderMean) -> str:
    lead = f"{wording.number(other.ahead)} ({wording.between(other.ahead_interval)})"
    return f"{other.name} by {lead}"
