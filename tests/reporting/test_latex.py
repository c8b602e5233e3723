import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from clr_hpc.reporting.collect import read_study
from clr_hpc.reporting.control import against_control
from clr_hpc.reporting.latex import paper_tables
from clr_hpc.reporting.scoring import result_rows, score_runs

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
