"""The report's first lines: does cyclical retraining beat its control, by how much, at what cost, how sure."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.bootstrap import RESAMPLES, Interval
from clr_hpc.reporting.stats.compare import Comparison, ContenderMean
from clr_hpc.reporting.stats.contrast import ArmContrast
from clr_hpc.reporting.stats.floors import FloorRow, chosen_rows
from clr_hpc.reporting.stats.scoring import ResultRow
from clr_hpc.reporting.stats.verdict import Verdict

ARTICLE = "Research Square, DOI 10.21203/rs.3.rs-1129014/v1"
"""The article whose claim about training accuracy the report answers apart."""
NOT_JUDGED = (
    "Not judged: these runs have one seed, and another seed could reverse any difference between them. "
    "A verdict needs several seeds"
)


def run_counts(study: StudyRecord) -> dict[str, int]:
    """Return how many runs are done, failed, unfinished and missing, in this order."""
    counts = Counter(run.status for run in study.runs)
    return {status: counts[status] for status in ("done", "failed", "unfinished", "missing")}


def verdict(contrasts: tuple[ArmContrast, ...]) -> str:
    """Return the answer to the study's question, never surer than the verdicts are."""
    asked = [contrast for contrast in contrasts if contrast.verdict]
    if not asked:
        return "No answer yet: no policy that the study asks about has a finished control on the same test images."
    controls = wording.listed(list(dict.fromkeys(contrast.control for contrast in asked)))
    found = f"{NOT_JUDGED}." if _have_one_seed(asked) else _answer(asked, lambda contrast: contrast.verdict)
    names = wording.listed([contrast.policy for contrast in asked])
    what = "cyclical retraining" if all(contrast.cyclical for contrast in asked) else f"retraining with {names}"
    return (
        f"Over {_scope(asked)} of this study, does {what} give a higher test AUROC than the control, which "
        f"retrains the same weights for as long with a decaying learning rate ({controls})? {found}"
    )


def _scope(asked: Sequence[ArmContrast]) -> str:
    tasks, seeds = max(len(each.tasks) for each in asked), max(each.seeds for each in asked)
    return f"the {wording.count(tasks, 'pathology')} and {wording.count(seeds, 'seed')}"


def training_verdict(contrasts: tuple[ArmContrast, ...]) -> str:
    """Return the answer to the article's claim; empty where no training accuracy is measured."""
    asked = [
        each
        for each in contrasts
        if each.training_verdict and each.training_accuracy.value == each.training_accuracy.value
    ]
    if not asked:
        return ""
    found = (
        "Not judged: one seed." if _have_one_seed(asked) else _answer(asked, lambda each: each.training_verdict)
    )
    return (
        f"The article ({ARTICLE}) claims a gain in training accuracy: is it higher than with the same control? "
        f"{found}"
    )


def _have_one_seed(asked: Sequence[ArmContrast]) -> bool:
    return all(contrast.difference.total is None for contrast in asked)


def _answer(asked: Sequence[ArmContrast], of: Callable[[ArmContrast], Verdict | None]) -> str:
    by_verdict: dict[str, list[str]] = defaultdict(list)
    for contrast in asked:
        by_verdict[of(contrast) or "undecided"].append(contrast.policy)
    texts = {
        "better": "better than the control",
        "undecided": "neither better nor worse than the control, nor equivalent to it, is shown",
        "equivalent": "equivalent to the control",
        "worse": "worse than the control",
    }
    found = [verdict for verdict in texts if by_verdict[verdict]]
    findings = [f"{wording.listed(by_verdict[verdict])}: {texts[verdict]}" for verdict in found]
    opening = {"better": "Yes", "undecided": "Undecided"}.get(found[0], "No")
    if found[0] == "better" and len(found) > 1:
        opening = f"For {len(by_verdict['better'])} of {len(asked)} policies"
    return f"{opening}. {'; '.join(findings)}."


def one_class_line(rows: Iterable[ResultRow]) -> str:
    """Return the test AUROC of the setting that is best on validation, of each one-class task."""
    by_task: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        if row.auroc.value == row.auroc.value:
            by_task[row.setting.task].append(row)
    values = [f"{task} {_of_one_class(settings)}" for task, settings in by_task.items()]
    return (
        f"One-class models, not compared with each other, test AUROC (95 % CI over patients): {'; '.join(values)}."
        if values
        else ""
    )


def _of_one_class(settings: list[ResultRow]) -> str:
    best = max(settings, key=lambda row: (row.validation_auroc == row.validation_auroc, row.validation_auroc))
    if len(settings) == 1:
        return wording.bounded(best.auroc.value, best.auroc.interval)
    if all(row.validation_auroc == row.validation_auroc for row in settings):
        bounded = wording.bounded(best.auroc.value, best.auroc.interval)
        return f"{bounded} with {best.setting.arm}, the best of {len(settings)} settings on validation"
    values = sorted(row.auroc.value for row in settings)
    return (
        f"{wording.number(values[0])} to {wording.number(values[-1])} over {len(settings)} settings, none of them "
        "chosen, since validation gives no AUROC to choose by"
    )


def floor_lines(rows: Iterable[FloorRow]) -> list[str]:
    """Say, for each class, whether the setting that is best on validation sees more than exposure."""
    return [_against_floors(name, row, count) for name, (row, count) in chosen_rows(rows).items()]


def _against_floors(name: str, row: FloorRow, count: int) -> str:
    method = row.setting.task.partition(": ")[2]
    of = "" if count == 1 else f", the best of {count} settings on validation"
    known = {key: words for key, words in _FLOORS.items() if key in row.floors}
    floors = [f"{wording.number(row.floors[key].value)} from {words}" for key, words in known.items()]
    apart = {words: row.differences[key] for key, words in known.items()}
    unbeaten = [words for words, interval in apart.items() if interval is not None and interval.low <= 0]
    verdict = "It lies above both."
    if None in apart.values():
        verdict = "Patients are too few to say whether that is more."
    elif unbeaten:
        verdict = f"It is not above {wording.listed(unbeaten)}: it may have seen exposure and not disease."
    return (
        f"{name}: {method} with {row.setting.architecture}{of}, has a test AUROC of "
        f"{wording.bounded(row.auroc.value, row.auroc.interval)}; without a look at anatomy one gets "
        f"{wording.listed(floors)}. {verdict}"
    )


_FLOORS = {"brightness": "the mean gray", "statistics": "five statistics of the grays"}


def contrast_caveats(contrasts: tuple[ArmContrast, ...], margin: float) -> list[str]:
    """Return what a reader must know before trusting the verdict."""
    asked = [contrast for contrast in contrasts if contrast.verdict]
    if not asked:
        return []
    if _have_one_seed(asked):
        return [
            "Each CI of a difference is over test patients, for these very models: it says nothing of other "
            "training runs. Everything on this page is exploratory."
        ]
    together = "" if len(asked) == 1 else f" The verdicts on {len(asked)} policies hold together (Holm’s method)."
    return [
        "“Better” and “worse”: a difference of zero is excluded with 95 % confidence, over test patients and "
        f"training runs; “equivalent”: a difference of {margin:g} or more is excluded; “undecided”: none of "
        f"these, which is no evidence that nothing differs.{together} Each CI is for one policy alone. Test AUROC "
        "and training accuracy are two questions, with 95 % each. Everything else on this page is exploratory."
    ]


def ranking(comparison: Comparison, among: str) -> str:
    """Return which contender is best on validation and what the test split says of it."""
    if not comparison.contenders:
        return (
            f"Nothing can be compared: no {among} has, under every policy, a finished run "
            "whose AUROC and interval are defined."
        )
    best, *others = comparison.contenders
    over = f"over {wording.count(len(comparison.tasks), among)}"
    value, bounds = wording.number(best.auroc), wording.between(best.interval)
    mean = f"mean test AUROC {value} (95 % CI over test patients {bounds}), {over}"
    if not others:
        return f"Only {best.name} has results, so there is nothing to compare it with: {mean}."
    if not comparison.chosen:
        values = [f"{each.name} {wording.bounded(each.auroc, each.interval)}" for each in comparison.contenders]
        return (
            f"Described, not judged: validation gives no AUROC to choose a policy by. "
            f"Mean test AUROC {over}: {wording.listed(values)}."
        )
    opening = (
        f"{best.name} has the highest mean validation AUROC ({wording.number(best.validation_auroc)}); "
        f"on the test split, by which it was not chosen: {mean}."
    )
    if comparison.seeds == 1:
        gaps = [_gap(each, each.difference.patient_interval if each.difference else None) for each in others]
        return (
            f"{opening} {NOT_JUDGED}. Differences from it in these runs (95 % CI over test patients): "
            f"{wording.listed(gaps)}."
        )
    return (
        f"{opening} Differences from it (95 % CI over test patients and training runs): "
        f"{'; '.join(_against(each) for each in others)}."
    )


def _gap(other: ContenderMean, interval: Interval | None) -> str:
    value = other.difference.value if other.difference else float("nan")
    return f"{other.name} {wording.bounded(value, interval, wording.signed)}"


def _against(other: ContenderMean) -> str:
    gap = _gap(other, other.difference.interval if other.difference else None)
    judged = {
        "worse": "significantly worse",
        "better": "significantly better",
        "equivalent": "equivalent",
        "undecided": "undecided",
    }
    return f"{gap}, {judged[other.verdict or 'undecided']}"


def caveats(comparison: Comparison) -> list[str]:
    """Return what a reader must know before trusting the first lines."""
    notes = []
    if comparison.contenders:
        seeds = (
            "One seed per model: another seed would change these numbers."
            if comparison.seeds == 1
            else f"Means over {comparison.seeds} seeds."
        )
        notes.append(
            f"Policies are compared on {wording.count(comparison.runs_each, 'run')} each, with the same tasks, "
            f"models and seeds. {seeds} The CI of a policy’s AUROC covers the choice of test patients, not of "
            f"seeds ({RESAMPLES:,} bootstrap draws of patients, Student’s t on the logit scale)."
        )
    if comparison.chosen and comparison.seeds > 1:
        notes.append("Significance is adjusted for all pairs of policies (Holm’s method).")
    if comparison.contenders and comparison.absent:
        notes.append(f"Without a comparable run: {wording.listed(list(comparison.absent))}.")
    if comparison.left_out:
        notes.append(f"Left out of the means: {'; '.join(comparison.left_out)}.")
    return notes
