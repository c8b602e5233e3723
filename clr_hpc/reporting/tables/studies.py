"""The tables of a comparison of studies, for people and as CSV."""

from collections.abc import Sequence

from clr_hpc.reporting.stats.compare import ContenderMean
from clr_hpc.reporting.stats.difference import Difference
from clr_hpc.reporting.stats.studies import FindingResult, StudiesCompared
from clr_hpc.reporting.tables.export import bounds, comparisons_csv, difference_columns
from clr_hpc.reporting.tables.external import model_label
from clr_hpc.reporting.tables.table import Cell, Column, Table, bounded, tabulate
from clr_hpc.reporting.wording import duration, number, p_value, signed
from clr_hpc.store.csv_text import csv_text

REFERENCE = Cell("reference", 0.0)


def mean_table(compared: StudiesCompared) -> Table:
    """Return one row per study: means over the findings."""
    columns = [
        Column("Study", "name"),
        Column("Mean AUROC (95 % CI)", "auroc", number, "Test split; CI over patients", "interval"),
        Column(
            "Δ from the reference (95 % CI)", _difference_of_mean, signed, "Paired; over seeds too where several"
        ),
        Column("Verdict", _verdict, hint="Against the reference; adjusted for all pairs of studies"),
        Column("Validation AUROC", "validation_auroc", number, "By which the reference was chosen"),
        Column("Average precision", "average_precision", number),
        Column("Training time", "seconds", duration, "Sum over the compared runs"),
    ]
    return tabulate("studies", "Means over all findings", columns, compared.comparison.contenders)


def _difference_of_mean(mean: ContenderMean) -> Cell:
    return REFERENCE if mean.difference is None else _bounded(mean.difference)


def _bounded(difference: Difference) -> Cell:
    return bounded(difference.value, difference.interval or difference.patient_interval, signed)


def _verdict(mean: ContenderMean) -> str:
    if mean.difference is None:
        return "reference"
    return "not judged" if mean.difference.total is None else mean.verdict or "not judged"


def finding_table(results: Sequence[FindingResult]) -> Table:
    """Return one row per finding and study."""
    columns = [
        Column("Finding", "chosen.finding", filtered=True),
        Column("Study", "chosen.study", filtered=True),
        Column("AUROC (95 % CI)", "auroc", number, "Test split; mean over seeds, CI over patients", "interval"),
        Column("Δ from the reference (95 % CI)", _difference, signed, "Of these models, over patients"),
        Column("DeLong p", lambda row: row.difference.patient_p_value if row.difference else None, p_value,
               "Of these models; another seed may differ"),
        Column("p (Holm)", "p_adjusted", p_value, "Over patients and seeds, adjusted for all rows"),
        Column("Average precision", "average_precision", number),
        Column("Setting", _setting, hint="Best of the study on validation"),
    ]  # fmt: skip
    return tabulate("findings", "Each finding in each study", columns, results)


def _difference(row: FindingResult) -> Cell:
    if row.difference is None:
        return REFERENCE
    return bounded(row.difference.value, row.difference.patient_interval, signed)


def _setting(row: FindingResult) -> str:
    return model_label(row.chosen.setting, row.chosen.model)


def means_csv(compared: StudiesCompared) -> str:
    """Return one row per study."""
    return comparisons_csv("compared_over", {"all findings": compared.comparison})


def findings_csv(results: Sequence[FindingResult]) -> str:
    """Return one row per finding and study."""
    return csv_text(
        {
            "finding": row.chosen.finding,
            "study": row.chosen.study,
            "setting": _setting(row),
            "seeds": " ".join(map(str, row.chosen.runs)),
            "validation_auroc": row.chosen.validation_auroc,
            "auroc": row.auroc,
            **bounds("auroc", row.interval),
            "average_precision": row.average_precision,
            **difference_columns("difference", row.difference),
            "p_holm": row.p_adjusted,
        }
        for row in results
    )
