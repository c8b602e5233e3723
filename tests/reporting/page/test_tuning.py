"""The page of a search, from what a search leaves."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from mutation import damaged_json, times

from clr_hpc.config.base import UserError
from clr_hpc.reporting.page.tuning import best_in_words, cost_in_words, write_tuning_page
from clr_hpc.store.outcome import read_outcome
from clr_hpc.store.records import Damaged


def outcome(trials: int = 9, seeds: int = 3, **changes: Any) -> dict[str, Any]:
    done = [
        {
            "trial": number,
            "values": {"batch_size": (16, 32)[number % 2], "lr_max": 0.001 * 2**number},
            "status": "done" if number % 3 else "stopped early",
            "epochs": 4 if number % 3 else 1,
            "value": 0.7 + number / 100,
            "reason": None,
            "ask_seconds": 0.01,
        }
        for number in range(trials)
    ]
    history = [
        {
            "trial": trial["trial"],
            "epochs": trial["epochs"],
            "value": trial["value"],
            "epochs_spent": 4 * trial["trial"] + 4,
            "is_whole": trial["epochs"] == 4,
        }
        for trial in done
    ]
    return {
        "study": "invented",
        "search": "random",
        "objective": "auroc",
        "stage": "baseline",
        "task": "edema",
        "architecture": "mobilenet_v1",
        "optimizer": "sgd",
        "policy": "cosine",
        "epochs": 4,
        "seeds": list(range(seeds)),
        "rungs": [1, 4],
        "dimensions": {
            "batch_size": {"values": [16, 32]},
            "lr_max": {"low": 0.001, "high": 0.5, "scale": "log"},
        },
        "trials": done,
        "history": history,
        "best": {
            "trial": trials - 1,
            "values": done[-1]["values"],
            "value": done[-1]["value"],
            "by_seed": {str(seed): 0.7 for seed in range(seeds)},
            "interval": [0.7, 0.8] if seeds > 1 else None,
        },
        "importance": {"settings": {"batch_size": 0.2, "lr_max": 0.8}, "explained": 0.1, "trials": 9, "epochs": 3},
        "cost": {
            "epochs_trained": 60.0,
            "epochs_without_early_stopping": 120,
            "processor_hours": 1.5,
            "ask_seconds": 2.0,
        },
        "processor": "GPU",
    } | changes


def page_of(folder: Path, values: dict[str, Any]) -> str:
    (folder / "outcome.json").write_text(json.dumps(values))
    (folder / "best.yaml").write_text("name: invented-tuned\n")
    return write_tuning_page(folder).read_text()


def test_the_page_shows_every_trial_the_figures_and_the_study(tmp_path: Path) -> None:
    page = page_of(tmp_path, outcome())
    assert page.count("<svg") == 3
    assert page.count("<tr>") == 1 + 9
    assert "name: invented-tuned" in page
    assert "50% less than the 120 without early stopping" in page
    assert "1.50 GPU hours" in page
    assert "interpret the bars with caution" in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page), "it needs nothing from outside"


def test_the_best_trial_comes_first_in_the_table(tmp_path: Path) -> None:
    table = page_of(tmp_path, outcome()).partition("<tbody>")[2]
    assert re.findall(r"<td [^>]*class=\"number\">(.*?)</td>", table)[0] == "8"


@pytest.mark.parametrize("objective", ["auroc", "loss"])
def test_a_search_that_has_not_come_far_has_a_page_too(tmp_path: Path, objective: str) -> None:
    values = outcome(trials=1, best=None, importance=None, history=[], objective=objective)
    values["trials"][0] |= {"value": None, "status": "failed", "epochs": 0, "reason": "it <diverged>"}
    page = page_of(tmp_path, values)
    assert "No trial was trained to the end" in page
    assert "it &lt;diverged&gt;" in page
    assert "too little to estimate importance" in page


def test_a_damaged_outcome_is_an_error_that_names_it(tmp_path: Path) -> None:
    page_of(tmp_path, outcome())
    file = tmp_path / "outcome.json"

    @times(50)
    @given(damaged_json(file.read_bytes()))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        if isinstance(read_outcome(tmp_path), Damaged):
            with pytest.raises(UserError, match=r"outcome\.json.*clr-hpc tune"):
                write_tuning_page(tmp_path)
        else:
            write_tuning_page(tmp_path)

    check()
    file.unlink()
    with pytest.raises(UserError, match="'clr-hpc tune' writes it"):
        write_tuning_page(tmp_path)


def test_words_say_how_sure_the_best_is() -> None:
    assert "no interval; add more to tune.seeds" in best_in_words(outcome(seeds=1))
    assert "3 seeds are few" in best_in_words(outcome(seeds=3))
    assert "are few" not in best_in_words(outcome(seeds=6))
    assert "chosen as the best" in best_in_words(outcome())


def test_a_search_without_early_stopping_spared_nothing() -> None:
    assert "less than" not in cost_in_words(outcome(rungs=[4]))
