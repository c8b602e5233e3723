"""The report's tables as programs read them: full precision, nothing where a number isn't defined."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict

import pandas as pd

from clr_hpc.reporting import wording
from clr_hpc.reporting.read.plan import Prediction
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.compare import Comparison
from clr_hpc.reporting.stats.contrast import ArmContrast
from clr_hpc.reporting.stats.cost import ArmCost, Saving
from clr_hpc.reporting.stats.difference import Difference
from clr_hpc.reporting.stats.metrics import MEASURES, Measure
from clr_hpc.reporting.stats.run.scores import LAST
from clr_hpc.reporting.stats.scoring import ResultRow, ScoredRun, Setting
from clr_hpc.reporting.stats.subgroups import SliceRow
from clr_hpc.store.csv_text import csv_text


def results_csv(rows: Iterable[ResultRow]) -> str:
    """Return one row per task, model, stage and policy; binary and one-class."""
    return csv_text(
        {
            **_setting(row.setting),
            "seeds_planned": row.planned,
            "seeds_done": row.done,
            "training_accuracy": row.training_accuracy,
            "validation_accuracy": row.validation_accuracy,
            "validation_auroc": row.validation_auroc,
            "always_no_accuracy": row.always_no_accuracy,
            **{
                f"{name}{suffix}": value
                for name, mean in row.measures.items()
                for suffix, value in (
                    ("", mean.value),
                    ("_low", mean.interval.low if mean.interval else None),
                    ("_high", mean.interval.high if mean.interval else None),
                    ("_seed_sd", mean.spread),
                )
            },
            "positives": row.positives,
            "images": row.images,
            "threshold_quantile": row.setting.threshold_quantile,
            "note": row.note,
        }
        for row in rows
    )


def comparisons_csv(key: str, comparisons: Mapping[str, Comparison]) -> str:
    """Return the mean of each contender of each named comparison; ``key`` says what the names are."""
    return csv_text(
        {
            key: name,
            "tasks_compared": len(comparison.tasks),
            "runs": comparison.runs_each,
            "contender": mean.name,
            "mean_auroc": mean.auroc,
            **bounds("mean_auroc", mean.interval),
            "mean_validation_auroc": mean.validation_auroc,
            **difference_columns("difference_from_reference", mean.difference),
            "verdict": mean.verdict,
            "average_precision": mean.average_precision,
            "test_accuracy": mean.accuracy,
            "training_accuracy": mean.training_accuracy,
            "always_no_accuracy": mean.always_no_accuracy,
            "seconds": mean.seconds,
        }
        for name, comparison in comparisons.items()
        for mean in comparison.contenders
    )


def contrasts_csv(contrasts: Iterable[ArmContrast]) -> str:
    """Return one row per arm of retraining and task: retraining minus control."""
    return csv_text(
        {
            "retrained_with": contrast.arm,
            "control": contrast.control,
            "task": task.task,
            "pairs": len(task.pairs),
            **difference_columns("auroc_difference", task.difference),
            "p_holm": task.p_adjusted,
            "accuracy_difference": task.accuracy_difference,
            "mcnemar_p": task.mcnemar,
            "mcnemar_p_holm": task.mcnemar_adjusted,
            "training_accuracy_difference": task.training_accuracy_difference,
        }
        for contrast in contrasts
        for task in contrast.tasks
    )


def verdicts_csv(contrasts: Iterable[ArmContrast]) -> str:
    """Return one row per arm of retraining: the means over tasks that the first lines state."""
    return csv_text(
        {
            "retrained_with": contrast.arm,
            "control": contrast.control,
            "cyclical": contrast.cyclical,
            "tasks": len(contrast.tasks),
            "seeds": contrast.seeds,
            "verdict": contrast.verdict or "exploratory",
            **difference_columns("auroc_difference", contrast.difference),
            "tasks_better": contrast.better,
            "tasks_worse": contrast.worse,
            "training_accuracy_verdict": contrast.training_verdict or "exploratory",
            **difference_columns("training_accuracy_difference", contrast.training_accuracy),
        }
        for contrast in contrasts
    )


def costs_csv(costs: Iterable[ArmCost], savings: Iterable[tuple[ArmContrast, Saving]]) -> str:
    """Return one row per arm: its mean cost, and of a retraining how it compares with its control."""
    by_arm = {contrast.arm: against_control for contrast, against_control in savings}
    return csv_text(
        asdict(cost) | {f"against_control_{key}": value for key, value in _saving(by_arm.get(cost.arm)).items()}
        for cost in costs
    )


def _saving(saving: Saving | None) -> dict[str, object]:
    if saving is None:
        return {}
    values = asdict(saving)
    values.pop("interval")
    return values | bounds("steps_difference", saving.interval)


def slices_csv(rows: Iterable[SliceRow]) -> str:
    """Return one row a slice and arm."""
    return csv_text(
        {
            "by": row.attribute,
            "slice": row.slice,
            "arm": row.arm,
            "mean_auroc": row.auroc,
            **bounds("mean_auroc", row.interval),
            "tasks": row.tasks,
            "images": row.images,
            "note": row.note,
        }
        for row in rows
    )


def runs_csv(runs: Iterable[ScoredRun]) -> str:
    """Return one row per run, with its state, its cost and what its last model measures."""
    return csv_text(
        {
            "run": run.record.spec.name,
            **_setting(run.setting),
            "seed": run.record.spec.seed,
            "status": run.record.status,
            "reason": run.record.reason or run.note,
            "epochs": run.record.result.get("epochs"),
            "samples": run.record.result.get("samples"),
            "images_per_second": run.record.images_per_second,
            **{f"cost_{key}": value for key, value in run.record.result.get("cost", {}).items()},
            "train_accuracy": run.record.result.get("train", {}).get("accuracy"),
            "threshold": run.thresholds.get(LAST),
            **{f"test_{name}": estimate.value for name, estimate in run.models.get(LAST, {}).items()},
        }
        for run in runs
    )


def _setting(setting: Setting) -> dict[str, object]:
    names = ("task", "architecture", "optimizer", "stage", "policy")
    return {name: getattr(setting, name) for name in names}


def bounds(name: str, interval: Interval | None) -> dict[str, object]:
    """Return the two ends of an interval, nothing where there is none."""
    return {f"{name}_low": interval.low, f"{name}_high": interval.high} if interval else {}


def difference_columns(name: str, difference: Difference | None) -> dict[str, object]:
    """Return a difference, its bounds and p-value over patients and seeds, and those of these very models."""
    if difference is None:
        return {}
    return {
        name: difference.value,
        **bounds(name, difference.interval),
        f"{name}_p": difference.p_value,
        **bounds(f"{name}_these_models", difference.patient_interval),
        f"{name}_these_models_p": difference.patient_p_value,
    }


def epochs_csv(runs: Iterable[ScoredRun]) -> str:
    """Return every evaluation of every run: what the curves are drawn from."""
    return csv_text(
        {"run": run.record.spec.name} | {key: value for key, value in line.items() if key != "kind"}
        for run in runs
        for line in run.record.epochs
    )


def predicted_csv(prediction: Prediction) -> str:
    """Return one row per finished run of the plan: its lane, and its training time against the predicted one."""
    return csv_text(asdict(run) | {"ratio": run.ratio} for run in prediction.runs)


def labels_csv(study: StudyRecord) -> str:
    """Return the counts of each label in each split."""
    return csv_text(
        {"label": label, "split": name} | split.get("labels", {}).get(label, {})
        for name, split in study.pack["counts"]["splits"].items()
        for label in study.labels
    )


_SPECIAL = str.maketrans(
    {
        "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
        "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "−": "$-$", "–": "--",
        "Δ": r"$\Delta$", "<": "$<$",
    }
)  # fmt: skip
"""What LaTeX's first font encoding reads or prints as something else."""


def paper_tables(rows: Iterable[ResultRow], contrasts: Iterable[ArmContrast]) -> str:
    """Return a table per measure and model of each task under each arm, and one per retraining; "" without any."""
    by_model: dict[str, list[ResultRow]] = defaultdict(list)
    for row in rows:
        by_model[row.setting.model].append(row)
    parts: list[str] = []
    for measure in MEASURES.values():
        if measure.in_paper:
            parts += [_measure_table(measure, model, group) for model, group in by_model.items()]
    parts += [_contrast_table(contrast) for contrast in contrasts if contrast.tasks]
    return "\n\n".join(["% \\usepackage{booktabs}", *parts]) + "\n" if parts else ""


def _measure_table(measure: Measure, model: str, rows: Sequence[ResultRow]) -> str:
    cells: dict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        mean = row.measures[measure.key]
        cells[row.setting.task][row.setting.arm] = wording.bounded(mean.value, mean.interval, measure.write)
    frame = pd.DataFrame.from_dict(cells, orient="index").fillna("–").rename_axis("Task").reset_index()
    caption = f"{measure.title} on the test split with 95 % intervals over patients: {model}."
    return _latex(frame, caption)


def _contrast_table(contrast: ArmContrast) -> str:
    lines = [
        (
            task.task,
            wording.bounded(task.difference.value, task.difference.patient_interval, wording.signed),
            wording.p_value(task.p_adjusted),
            wording.signed(task.training_accuracy_difference),
        )
        for task in contrast.tasks
    ]
    several = contrast.difference.total is not None
    mean = (
        "Mean",
        wording.bounded(
            contrast.difference.value,
            contrast.difference.interval if several else contrast.difference.patient_interval,
            wording.signed,
        ),
        (contrast.verdict or "exploratory") if several else "not judged: one seed",
        wording.bounded(contrast.training_accuracy.value, contrast.training_accuracy.interval, wording.signed),
    )
    caption = (
        f"{contrast.policy} minus its control ({contrast.control}) in retraining. Intervals of single tasks are "
        f"over test patients, for these models; that of the mean is over test patients"
        f"{' and training runs' if several else ' too: one seed shows nothing of training'}. "
        "p-values are over both, adjusted by Holm's method."
    )
    head = ("Task", "AUROC difference (95 % interval)", "p", "Training accuracy difference")
    return _latex(pd.DataFrame([*lines, mean], columns=head), caption).replace("\nMean &", "\n\\midrule\nMean &")


def _latex(frame: pd.DataFrame, caption: str) -> str:
    escaped = frame.map(_escaped).rename(columns=_escaped)
    text: str = escaped.style.hide(axis="index").to_latex(
        caption=_escaped(caption),
        column_format="l" + "r" * (len(frame.columns) - 1),
        position_float="centering",
        hrules=True,
    )
    return text.strip()


def _escaped(text: str) -> str:
    return text.translate(_SPECIAL)
