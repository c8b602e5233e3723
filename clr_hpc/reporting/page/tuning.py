"""The page of a search: ``tuning.html`` next to its source ``outcome.json``."""

from pathlib import Path

from clr_hpc.reporting.figures import tuning
from clr_hpc.reporting.figures.tuning import setting_title
from clr_hpc.reporting.page.template import render_page, write_text
from clr_hpc.reporting.read.study import ReportError
from clr_hpc.reporting.tables.table import Column, Table, tabulate
from clr_hpc.reporting.wording import count, number
from clr_hpc.store import layout
from clr_hpc.store.outcome import Outcome, TrialRecord, read_outcome
from clr_hpc.store.records import required

OBJECTIVES = {"auroc": "validation AUROC", "loss": "validation loss"}
FEW_SEEDS = 5


def write_tuning_page(folder: Path) -> Path:
    """Write the page of a search into its folder, from what ``clr-hpc tune`` left there, and return its path.

    Raises:
        UserError: its outcome is missing or damaged.
    """
    outcome = required(read_outcome(folder))
    if outcome is None:
        raise ReportError(f"{folder} has no {layout.OUTCOME}; 'clr-hpc tune' writes it")
    has_values = any(trial["value"] is not None for trial in outcome["trials"])
    page = render_page(
        "tuning.html.jinja",
        heading=f"{outcome['study']}: tuning",
        summary=_summary(outcome),
        outcome=outcome,
        titles={name: setting_title(name) for name in outcome["dimensions"]},
        best=best_in_words(outcome),
        cost=cost_in_words(outcome),
        parallel=tuning.parallel_coordinates(outcome) if has_values else None,
        over_time=tuning.over_time(outcome) if outcome["history"] else None,
        importance=tuning.importance(outcome["importance"]["settings"]) if outcome["importance"] else None,
        importance_note=_importance_note(outcome),
        best_yaml=(folder / layout.BEST_STUDY).read_text() if outcome["best"] else "",
        trials=_trial_table(outcome),
    )
    return write_text(folder / "tuning.html", page)


def _trial_table(outcome: Outcome) -> Table:
    columns = [
        Column("Trial", "trial", str),
        *(Column(setting_title(name), f"values.{name}", "{:g}".format) for name in outcome["dimensions"]),
        Column("Epochs", "epochs", str),
        Column(OBJECTIVES[outcome["objective"]], "value", lambda value: number(value, 4)),
        Column("Status", lambda trial: ": ".join(filter(None, (trial["status"], trial["reason"])))),
    ]
    return tabulate("trials", "All trials, those trained longest first", columns, _ranked(outcome))


def best_in_words(outcome: Outcome) -> str:
    """Return a sentence on the best trial's objective and how sure it is."""
    best = outcome["best"]
    if best is None:
        return "No trial was trained to the end."
    seeds = len(best["by_seed"])
    value = f"{OBJECTIVES[outcome['objective']]} {number(best['value'], 4)}"
    if best["interval"] is None:
        return f"{value} with one seed: no interval; add more to tune.seeds, since a seed alone can change much."
    low, high = best["interval"]
    few = f"; wide, since {seeds} seeds are few" if seeds < FEW_SEEDS else ""
    return (
        f"{value}, 95 % interval {number(low, 4)} to {number(high, 4)} over {seeds} seeds (Student's t{few}). "
        "It was chosen as the best on these images and seeds: expect somewhat less on others."
    )


def cost_in_words(outcome: Outcome) -> str:
    """Return a sentence on what the search cost."""
    cost = outcome["cost"]
    trained, whole = cost["epochs_trained"], cost["epochs_without_early_stopping"]
    saved = ""
    if len(outcome["rungs"]) > 1 and whole:
        saved = f", {1 - trained / whole:.0%} less than the {whole:.0f} without early stopping"
    hours = f"{cost['processor_hours']:.2f} {outcome['processor']} hours"
    return (
        f"Trained for {trained:.0f} epochs{saved}; {hours} in training; "
        f"the search took {cost['ask_seconds']:.1f} s to propose {count(len(outcome['trials']), 'trial')}."
    )


def _summary(outcome: Outcome) -> str:
    trials, seeds = count(len(outcome["trials"]), "trial"), count(len(outcome["seeds"]), "seed")
    return (
        f"{outcome['search']} search, {trials} of {seeds} each: {outcome['task']}, "
        f"{outcome['architecture']}, {outcome['optimizer']}, {outcome['stage']} with policy {outcome['policy']}, "
        f"{count(outcome['epochs'], 'epoch')}"
    )


def _importance_note(outcome: Outcome) -> str:
    importance = outcome["importance"]
    if importance is None:
        return "Fewer than eight trials, or all alike: too little to estimate importance."
    explained = importance["explained"]
    doubt = " That is little: interpret the bars with caution." if explained < 0.3 else ""
    return (
        "Permutation importance: the increase in a random forest's error when a setting is shuffled among the "
        f"trials. Out of bag, the forest explains {max(explained, 0):.0%} of the variance of "
        f"{importance['trials']} trials.{doubt}"
    )


def _ranked(outcome: Outcome) -> list[TrialRecord]:
    """Return the trials, those trained longest first, the best first among these."""
    sign = -1 if outcome["objective"] == "auroc" else 1

    def key(trial: TrialRecord) -> tuple[float, float]:
        return -trial["epochs"], float("inf") if trial["value"] is None else sign * trial["value"]

    return sorted(outcome["trials"], key=key)
