"""``clr-hpc tune --on ray``: trials in two lanes, to their end, and killed half way."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path
from typing import Any

import pytest
from needs import need_package
from trial_study import WAIT_SECONDS, TrialStudy, wait_until

pytestmark = pytest.mark.cluster
need_package("ray")

TRIALS, LANES = 6, 2
CHANGES: dict[str, Any] = {
    "stages": {"scratch": {"policies": ["cosine"]}},
    "training": {"epochs": 4, "image_size": 32, "batch_size": 16},
    "tune": {
        "search": "random",
        "trials": TRIALS,
        "space": {"lr_max": {"low": 0.002, "high": 0.1, "scale": "log"}},
        "early_stopping": {"min_epochs": 1, "reduction": 2},
    },
}

NARROW = ("--lanes", str(LANES))
WIDE = ("--lanes", "1", "--workers-per-lane", "2")


def command(study: TrialStudy, lanes: tuple[str, ...]) -> list[str]:
    start = [sys.executable, "-m", "clr_hpc", "tune", str(study.file), "--on", "ray", *lanes]
    return [*start, "--cpus", "2", "--results", str(study.file.parent / "results")]


def tune(study: TrialStudy, lanes: tuple[str, ...]) -> str:
    told = subprocess.run(
        command(study, lanes), capture_output=True, text=True, timeout=2 * WAIT_SECONDS, check=False
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def journal(study: TrialStudy) -> list[dict[str, Any]]:
    """Return the events so far."""
    files = list(study.file.parent.glob("results/trial/tuning/*/trials.jsonl"))
    return [json.loads(line) for file in files for line in file.read_text().split("\n")[:-1]]


def runs_of(study: TrialStudy) -> list[Path]:
    return sorted(study.file.parent.glob("results/trial/tuning/runs/*"))


def check_journal(study: TrialStudy) -> None:
    """Hold what is true of a search that has ended, in whichever order its trials did."""
    events = journal(study)
    asked = [event["trial"] for event in events if event["event"] == "asked"]
    assert asked == list(range(TRIALS))
    stretches = [(event["trial"], event["epochs"]) for event in events if event["event"] in ("asked", "promoted")]
    measured = [(event["trial"], event["epochs"]) for event in events if event["event"] == "measured"]
    assert len(measured) == len(set(measured)), "no stretch of a trial was measured twice"
    assert sorted(measured) == sorted(stretches)
    assert {epochs for _, epochs in measured} == {1, 2, 4}
    assert len(runs_of(study)) == TRIALS


def epochs_of(run: Path) -> list[float]:
    """Return after how many epochs a run was validated."""
    entries = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [entry["progress"] for entry in entries if entry.get("split") == "validation"]


def reached(study: TrialStudy) -> list[int]:
    """Return after how many epochs each trial rests or has ended."""
    measured = [event for event in journal(study) if event["event"] == "measured"]
    return [max(event["epochs"] for event in measured if event["trial"] == trial) for trial in range(TRIALS)]


def most_at_a_time(study: TrialStudy) -> int:
    """Return how many trials were under way at the same time."""
    steps = [-1 if event["event"] == "measured" else 1 for event in journal(study)]
    return max(accumulate(steps))


def test_every_trial_is_trained_once_in_whichever_lane_is_free(write_study: Callable[..., TrialStudy]) -> None:
    study = write_study(**CHANGES)
    said = tune(study, NARROW)
    check_journal(study)
    promoted = [event for event in journal(study) if event["event"] == "promoted"]
    assert promoted
    assert said.count("\ntrial ") == TRIALS + len(promoted)
    # a run that went on from a pause has repeated nothing
    assert sorted(len(epochs_of(run)) for run in runs_of(study)) == sorted(reached(study))
    assert most_at_a_time(study) == LANES
    assert "best: trial" in said
    before = journal(study)
    assert "starting" not in tune(study, NARROW), "nothing is left that would need a cluster"
    assert journal(study) == before


@pytest.mark.slow  # it starts two clusters
def test_killed_half_way_it_goes_on_in_a_lane_of_two_without_repeating_or_losing_a_trial(
    write_study: Callable[..., TrialStudy],
) -> None:
    study = write_study(**CHANGES)
    process = subprocess.Popen(command(study, NARROW), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(lambda: len(journal(study)) >= 5, "some trials")
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = journal(study)
    assert any(event["event"] == "measured" for event in before)
    asked = [event for event in before if event["event"] == "asked"]
    assert len(asked) < TRIALS, "killed too late to show a thing"
    assert "known from before" in tune(study, WIDE)
    assert journal(study)[: len(before)] == before
    check_journal(study)
