"""The tables of an external validation, for people and as CSV."""

from collections.abc import Callable, Iterator, Sequence

from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.external import ExternalResults, SettingResult, SideResult, SubgroupResult
from clr_hpc.reporting.stats.run.scores import LAST
from clr_hpc.reporting.stats.scoring import Setting
from clr_hpc.reporting.tables.export import bounds
from clr_hpc.reporting.tables.table import MISSING, UNDEFINED_ORDER, Cell, Column, Table, bounded, part, tabulate
from clr_hpc.reporting.wording import number, p_value, ratio, signed, whole
from clr_hpc.store.csv_text import csv_text

SIDES = ("internal", "external")


def ranking_table(results: Sequence[SettingResult]) -> Table:
    """Return AUROC and average precision of each setting on both sides."""
    columns = [
        *_setting_columns(results),
        *_both("AUROC", "auroc"),
        _change("auroc", "External minus internal; these models, other patients"),
        Column("p (Holm)", "p_adjusted", p_value, "That the AUROCs are equal, adjusted for all rows"),
        *_both("Average precision", "average_precision", "Chance level: the share of positives, which may differ"),
        *(Column(f"Positives, {side}", _positives(side), number) for side in SIDES),
    ]
    return tabulate(
        "ranking", "AUROC and average precision (95 % CI over patients)", columns, results, shorten=True
    )


def threshold_table(results: Sequence[SettingResult]) -> Table:
    """Return what the thresholds that were chosen on validation come to on both sides."""
    columns = [
        *_setting_columns(results),
        Column("Threshold", lambda row: row.record["threshold"], number, "Chosen in the study, and carried over"),
        *_both("Sensitivity", "sensitivity"),
        _change("sensitivity"),
        *_both("Specificity", "specificity"),
        _change("specificity"),
    ]
    return tabulate(
        "thresholds", "At the study's thresholds (95 % CI over patients)", columns, results, shorten=True
    )


def calibration_table(results: Sequence[SettingResult]) -> Table:
    """Return how far scores and calibrated probabilities are off on both sides; without one-class models."""
    columns = [
        *_setting_columns(results),
        Column("Calibration", lambda row: row.record["calibration"] or "none", hint="Fitted on validation"),
        *_both("E/O raw", "expected_observed", "Sum of the scores / number of positives; 1 is right", ratio),
        *_both("E/O calibrated", "expected_observed_calibrated", "The same of the probabilities", ratio),
        *_both("Brier raw", "brier", "Mean squared error of the scores; lower is better"),
        *_both("Brier calibrated", "brier_calibrated", "Of the probabilities; lower is better"),
    ]
    binary = [row for row in results if not row.setting.one_class]
    return tabulate(
        "calibration",
        "Expected / observed positives and Brier score (95 % CI over patients)",
        columns,
        binary,
        shorten=True,
    )


def subgroup_table(rows: Sequence[SubgroupResult]) -> Table:
    """Return the mean AUROC on parts of the images, on both sides."""
    columns = [
        Column("By", "attribute", filtered=True),
        Column("Slice", "slice"),
        Column("Images, internal", lambda row: row.images[0], whole),
        Column("Images, external", lambda row: row.images[1], whole),
        Column("Findings", "tasks", whole, "With five images of each class in the slice on both sides"),
        *(Column(f"Mean AUROC, {side}", _mean(side), number, "95 % CI over patients") for side in SIDES),
        Column("Δ (95 % CI)", _subgroup_difference, signed, "External minus internal"),
    ]
    return tabulate("subgroups", "Mean AUROC on parts of the images (95 % CI)", columns, rows)


def gap_table(results: Sequence[SettingResult]) -> Table:
    """Return the settings of which a side is missing, with the reason."""
    rows = [{"task": each.setting.task, "reason": reason} for each in results if (reason := gap(each))]
    unique = list({(row["task"], row["reason"]): row for row in rows}.values())
    return tabulate("gaps", "Not judged, and why", [Column("Finding", "task"), Column("Reason", "reason")], unique)


def gap(result: SettingResult) -> str:
    """Return why a setting is not judged; empty where it is."""
    if result.external is None:
        return result.record.get("gap") or "no image with a known label"
    return "" if result.internal else "no image of the study's own test split has a known label"


def _setting_columns(results: Sequence[SettingResult]) -> Iterator[Column]:
    yield Column("Finding", "setting.task", filtered=True)
    if len({row.setting.task for row in results}) < len(results):
        yield Column("Setting", setting_label, filtered=True)


def setting_label(row: SettingResult) -> str:
    """Return network, optimizer, policy and kind of weights of a row."""
    return model_label(row.setting, row.record["model"])


def model_label(setting: Setting, model: str) -> str:
    """Return network, optimizer, policy and, other than the last, kind of weights."""
    weights = [] if model == LAST else [wording.MODEL_TITLES[model]]
    return ", ".join([setting.model, setting.arm, *weights])


def _both(title: str, key: str, hint: str = "", write: Callable[[float | None], str] = number) -> Iterator[Column]:
    for side in SIDES:
        yield Column(f"{title}, {side}", _measured(side, key, write), write, hint)


def _measured(side: str, key: str, write: Callable[[float | None], str]) -> Callable[[SettingResult], Cell]:
    def cell(row: SettingResult) -> Cell:
        found: SideResult | None = getattr(row, side)
        if found is None:
            return Cell("not judged", UNDEFINED_ORDER, gap(row))
        if key not in found.measures:
            return MISSING
        estimate = found.measures[key]
        if estimate.value != estimate.value:
            return Cell("not defined", UNDEFINED_ORDER, estimate.reason)
        return Cell(wording.bounded(estimate.value, estimate.interval, write), estimate.value, estimate.reason)

    return cell


def _change(key: str, hint: str = "External minus internal") -> Column:
    def cell(row: SettingResult) -> Cell:
        if key not in row.differences or row.differences[key].value != row.differences[key].value:
            return MISSING
        return bounded(row.differences[key].value, row.differences[key].patient_interval, signed)

    return Column("Δ (95 % CI)", cell, signed, hint)


def _positives(side: str) -> Callable[[SettingResult], Cell]:
    def cell(row: SettingResult) -> Cell:
        found: SideResult | None = getattr(row, side)
        return part(found.positives, found.images) if found else MISSING

    return cell


def _mean(side: str) -> Callable[[SubgroupResult], Cell]:
    def cell(row: SubgroupResult) -> Cell:
        found = getattr(row, side)
        return bounded(found.value, found.interval) if found else MISSING

    return cell


def _subgroup_difference(row: SubgroupResult) -> Cell:
    return bounded(row.difference.value, row.difference.patient_interval, signed) if row.difference else MISSING


def results_csv(results: ExternalResults) -> str:
    """Return one row per setting, every measure on both sides with its interval."""
    return csv_text(_result_row(each) for each in results.settings)


def _result_row(row: SettingResult) -> dict[str, object]:
    values: dict[str, object] = {
        "finding": row.record["spec"].task.name,
        **{name: getattr(row.setting, name) for name in ("architecture", "optimizer", "stage", "policy")},
        "model": row.record["model"],
        "seeds": " ".join(map(str, row.record["seeds"])),
        "best_on_validation": row.record["is_best"],
        "validation_auroc": row.record["validation_auroc"],
        "threshold": row.record["threshold"],
        "calibration": row.record["calibration"],
        "note": gap(row),
    }
    for side in SIDES:
        found: SideResult | None = getattr(row, side)
        if found is None:
            continue
        values |= {f"{side}_images": found.images, f"{side}_positives": found.positives}
        for key, estimate in found.measures.items():
            values |= {f"{side}_{key}": estimate.value} | bounds(f"{side}_{key}", estimate.interval)
    for key, difference in row.differences.items():
        values |= {f"difference_{key}": difference.value} | bounds(
            f"difference_{key}", difference.patient_interval
        )
    return values | {"difference_auroc_p_holm": row.p_adjusted}


def subgroups_csv(rows: Sequence[SubgroupResult]) -> str:
    """Return one row per part of the images."""
    return csv_text(_subgroup_row(row) for row in rows)


def _subgroup_row(row: SubgroupResult) -> dict[str, object]:
    values: dict[str, object] = {"by": row.attribute, "slice": row.slice, "findings": row.tasks}
    for side, images, mean in zip(SIDES, row.images, (row.internal, row.external), strict=True):
        values |= {f"{side}_images": images, f"{side}_mean_auroc": mean.value if mean else None}
        values |= bounds(f"{side}_mean_auroc", mean.interval if mean else None)
    difference = row.difference
    values["difference"] = difference.value if difference else None
    return values | bounds("difference", difference.patient_interval if difference else None)
