import csv
import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.compare import arms, compare
from clr_hpc.reporting.stats.contrast import against_control
from clr_hpc.reporting.stats.evaluate import evaluate, label_counts
from clr_hpc.reporting.stats.scoring import ScoredRun, result_rows, score_runs
from clr_hpc.reporting.tables import export, results
from clr_hpc.reporting.tables.export import paper_tables

StudyMaker = Callable[..., Path]


def scored(folder: Path) -> tuple[ScoredRun, ...]:
    return score_runs(read_study(folder), np.random.default_rng(0))


def parsed(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_results_csv_holds_full_precision(make_study: StudyMaker) -> None:
    rows = result_rows(scored(make_study()))
    lines = parsed(export.results_csv(rows))
    assert len(lines) == 6
    assert float(lines[0]["auroc"]) == rows[0].auroc.value
    assert lines[0]["auroc_seed_sd"] == ""


def test_results_hold_what_the_run_measured_on_validation(make_study: StudyMaker) -> None:
    folder = make_study()
    result_file = next(folder.glob("runs/*/result.json"))
    result = json.loads(result_file.read_text())
    result["validation"] |= {"accuracy": 0.125, "auroc": None}
    result_file.write_text(json.dumps(result))
    lines = parsed(export.results_csv(result_rows(scored(folder))))
    assert [line["validation_auroc"] for line in lines if line["validation_accuracy"] == "0.125"] == [""]
    assert all(0 < float(line["validation_auroc"]) < 1 for line in lines if line["validation_accuracy"] != "0.125")


def test_runs_csv_has_a_line_a_run_whatever_its_state(make_study: StudyMaker) -> None:
    folder = make_study()
    next(folder.glob("runs/*/result.json")).unlink()
    lines = parsed(export.runs_csv(scored(folder)))
    assert sorted(line["status"] for line in lines) == ["done"] * 5 + ["unfinished"]
    assert {line["train_accuracy"] == "" for line in lines if line["status"] == "unfinished"} == {True}


def test_epochs_csv_is_what_the_curves_show(make_study: StudyMaker) -> None:
    lines = parsed(export.epochs_csv(scored(make_study())))
    assert len(lines) == 6 * 4 * 2
    assert {line["split"] for line in lines} == {"train", "validation"}


def test_comparisons_csv_ranks_every_set_of_tasks(make_study: StudyMaker) -> None:
    entries = arms(scored(make_study()))
    one = compare(entry for entry in entries if entry.run.setting.task == "Effusion")
    lines = parsed(export.comparisons_csv("set", {"all": compare(entries), "one": one}))
    assert [line["set"] for line in lines] == ["all"] * 3 + ["one"] * 3
    assert lines[0]["difference_from_reference"] == ""
    assert float(lines[1]["difference_from_reference_these_models_low"]) < 1


def test_labels_are_summed_over_splits(make_study: StudyMaker) -> None:
    study = read_study(make_study())
    assert label_counts(study)["atelectasis"] == 3 * 40
    table = results.label_table(study)
    assert len(table.rows) == len(PATHOLOGIES) + 1
    assert [cell.text for cell in table.rows[0]] == ["No finding", "530", "530", "530", "1,590"]
    lines = parsed(export.labels_csv(study))
    assert lines[-1] == {
        "label": NO_FINDING,
        "split": "test",
        "positive": "530",
        "negative": "110",
        "unknown": "0",
    }


def test_contrasts_and_costs_hold_what_the_report_says(make_study: StudyMaker) -> None:
    folder = make_study(skill={}, retrained={"cosine": 1.0, "triangular": 1.2})
    binary = evaluate(read_study(folder)).binary
    lines = parsed(export.contrasts_csv(binary.contrasts))
    assert [line["task"] for line in lines] == ["Effusion", "Pneumothorax"]
    task = binary.contrasts[0].tasks[0]
    assert float(lines[0]["auroc_difference_these_models_p"]) == task.difference.patient_p_value
    assert lines[0]["p_holm"] == ""  # one seed
    (verdict,) = parsed(export.verdicts_csv(binary.contrasts))
    assert float(verdict["auroc_difference"]) == binary.contrasts[0].difference.value
    assert verdict["verdict"] == "undecided"
    costs = {line["arm"]: line for line in parsed(export.costs_csv(binary.costs, binary.savings))}
    assert float(costs["Triangular, retrained"]["against_control_steps_difference"]) == 25 - 30
    assert costs["Triangular, retrained"]["against_control_measured"] == "at ends of epochs"
    assert costs["Cosine decay, control"]["against_control_steps_difference"] == ""


def test_slices_csv_has_a_line_a_slice_and_arm(make_study: StudyMaker) -> None:
    lines = parsed(export.slices_csv(evaluate(read_study(make_study())).slices))
    assert len(lines) == 7 * 3
    assert {line["by"] for line in lines} == {"View", "Sex", "Age"}


StudyMaker = Callable[..., Path]


def test_a_table_a_model_and_one_a_cyclical_policy(make_study: StudyMaker) -> None:
    folder = make_study(skill={}, retrained={"cosine": 1.0, "triangular": 1.3}, optimizers=("sgd", "adam"))
    runs = score_runs(read_study(folder), np.random.default_rng(0))
    text = paper_tables(result_rows(runs), against_control(runs))
    assert text.count(r"\begin{table}") == text.count(r"\end{table}") == 2 + 1
    for table in re.findall(r"\\begin{tabular}{(l+r+)}(.*?)\\end{tabular}", text, re.DOTALL):
        columns, body = table
        lines = [line for line in body.splitlines() if line.endswith(r"\\")]
        assert {line.count("&") for line in lines} == {len(columns) - 1}
    assert "Effusion & 0." in text


def test_what_latex_would_read_as_commands_is_escaped(make_study: StudyMaker) -> None:
    runs = score_runs(read_study(make_study(("edema",))), np.random.default_rng(0))
    rows = [replace(row, setting=replace(row.setting, task="50 % & {_}")) for row in result_rows(runs)]
    text = paper_tables(rows, ())
    assert r"50 \% \& \{\_\}" in text
    assert re.search(r"95 \\% intervals", text)
