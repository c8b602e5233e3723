"""The main tables for a paper: LaTeX with booktabs."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from clr_hpc.reporting import wording
from clr_hpc.reporting.control import SIGNIFICANT, ArmContrast
from clr_hpc.reporting.scoring import ResultRow
from clr_hpc.reporting.statistics import Interval

_SPECIAL = str.maketrans(
    {
        "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "−": "$-$", "–": "--",
    }
)  # fmt: skip


def paper_tables(rows: Iterable[ResultRow], contrasts: Iterable[ArmContrast]) -> str:
    """Return a table a model of each task's AUROC under each arm, and one a retraining against its control."""
    by_model: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        by_model[row.setting.model].append(row)
    parts = ["% \\usepackage{booktabs}"]
    parts += [_auroc_table(model, group) for model, group in by_model.items()]
    parts += [_contrast_table(contrast) for contrast in contrasts if contrast.tasks]
    return "\n\n".join(parts) + "\n"


def _auroc_table(model: str, rows: Sequence[ResultRow]) -> str:
    arms = list(dict.fromkeys(row.setting.arm for row in rows))
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        cells[row.setting.task][row.setting.arm] = _bounded(row.auroc.value, row.auroc.interval)
    lines = [[task, *(cells[task].get(arm, "--") for arm in arms)] for task in cells]
    caption = f"AUROC on the test split with 95 % intervals by bootstrap over patients: {model}."
    return _table(caption, ["Task", *arms], lines)


def _contrast_table(contrast: ArmContrast) -> str:
    lines = [
        [
            task.task,
            _bounded(task.difference, task.interval, sign=True),
            wording.p_value(task.delong_adjusted),
            wording.signed(task.training_accuracy_difference),
        ]
        for task in contrast.tasks
    ]
    mean = [
        "Mean",
        _bounded(contrast.difference, contrast.interval, sign=True),
        f"{contrast.better} better, {contrast.worse} worse at {SIGNIFICANT:g}",
        _bounded(contrast.training_accuracy_difference, contrast.training_accuracy_interval, sign=True),
    ]
    caption = (
        f"{contrast.policy} minus its control ({contrast.control}) in retraining; "
        "p-values by DeLong's test, adjusted by Holm's method."
    )
    head = ["Task", "AUROC difference (95 % interval)", "p", "Training accuracy difference"]
    return _table(caption, head, lines, mean)


def _bounded(value: float, bounds: Interval | None, sign: bool = False) -> str:
    text = wording.signed(value) if sign else wording.number(value)
    return f"{text} ({wording.between(bounds)})" if bounds else text


def _table(caption: str, head: Sequence[str], lines: Sequence[Sequence[str]], last: Sequence[str] = ()) -> str:
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{_escaped(caption)}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
            r"\toprule",
            _line(head),
            r"\midrule",
            *map(_line, lines),
            *([r"\midrule", _line(last)] if last else []),
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
    )


def _line(cells: Sequence[str]) -> str:
    return " & ".join(map(_escaped, cells)) + r" \\"


def _escaped(text: str) -> str:
    # "< 0.001" prints as an inverted exclamation mark in LaTeX's first font encoding
    return text.translate(_SPECIAL).replace("<", "$<$")
