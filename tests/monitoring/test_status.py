"""``clr-hpc status`` on run folders in every state, also while they are written."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from clr_hpc.cli.display.status import duration
from clr_hpc.monitoring.status import RunStatus, State, StudyStatus, count
from clr_hpc.store.layout import LEASE
from clr_hpc.store.lease import LeaseHolder

StudyMaker = Callable[..., Any]


def status(study: Any, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "clr_hpc", "status", str(study.file), "--results", str(study.results)]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=60, check=False)


def read(study: Any) -> list[RunStatus]:
    return StudyStatus(study.folder).read()


def lines_with(text: str, *words: str) -> list[str]:
    return [line for line in text.splitlines() if all(word in line for word in words)]


def test_every_state_has_its_line(invent_study: StudyMaker) -> None:
    study = invent_study()
    baseline, control, retrained, other, other_control, _ = study.runs
    study.finish(baseline)
    study.fail(control, "FloatingPointError: the loss is nan\nafter 96 samples")
    study.stop(other, epochs=3.4, saved_at=3.2)
    with study.begin(retrained, epochs=2.4):
        with (study.path(retrained) / "metrics.jsonl").open("a") as file:
            file.write('{"kind": "step", "samples": 416, "progr')
        shown = status(study)
        found = {run.spec: run for run in read(study)}
    assert shown.returncode == 1, "a run failed"
    assert "6 runs in" in shown.stdout
    assert "1 running, 2 waiting, 1 stopped, 1 failed, 1 done" in " ".join(shown.stdout.split())
    (running,) = lines_with(shown.stdout, "Effusion · retrain · triangular")
    for part in ("2.4 of 4", "0.01", "0.417", "0.700", "50", "6 s", "lane 2, "):
        assert part in running
    (failed,) = lines_with(shown.stdout, "Effusion · control · cosine")
    assert "FloatingPointError: the loss is nan after 96 samples" in failed
    (done,) = lines_with(shown.stdout, "Effusion · baseline · cosine")
    assert "0.900" in done
    assert "16 s" in done
    (stopped,) = lines_with(shown.stdout, "Edema · baseline · cosine")
    assert "at epoch 3.2" in stopped
    assert len(lines_with(shown.stdout, "waits for its baseline")) == 2
    assert found[retrained].seconds_left == pytest.approx((4 - 2.4) * 4.0)
    assert found[other].epoch == pytest.approx(3.2)
    assert found[other_control].reason == "waits for its baseline"


def test_json_is_for_programs(invent_study: StudyMaker) -> None:
    study = invent_study()
    study.finish(study.runs[0])
    shown = status(study, "--json")
    assert shown.returncode == 0
    values = json.loads(shown.stdout)
    assert values["counts"] == {"running": 0, "waiting": 5, "stopped": 0, "failed": 0, "done": 1}
    first, second, *_ = values["runs"]
    assert (first["name"], first["state"], first["validation_auroc"]) == (study.runs[0].name, "done", 0.9)
    assert (second["state"], second["reason"], second["stage"]) == ("waiting", None, "control")


@pytest.mark.parametrize(
    ("age_seconds", "of_this_machine", "state"),
    [
        (5, False, State.RUNNING),
        (-400, False, State.RUNNING),
        (300, False, State.STOPPED),
        (5, True, State.STOPPED),
    ],
)
def test_a_lease_tells_whether_somebody_trains(
    age_seconds: float, of_this_machine: bool, state: State, invent_study: StudyMaker
) -> None:
    study = invent_study()
    study.stop(study.runs[0], epochs=2, saved_at=2)
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    holder = replace(LeaseHolder.this_process("lane 7"), host="node3", pid=died.pid)
    if not of_this_machine:
        holder = replace(holder, machine="another")
    path = study.path(study.runs[0]) / LEASE
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - age_seconds,) * 2)
    found = read(study)[0]
    assert found.state == state
    if state == State.RUNNING:
        assert (found.place, found.host) == ("lane 7", "node3")
    else:
        assert found.reason == "at epoch 2.0; lane 7 on node3 ended without a word"


def test_runs_at_their_very_beginning(invent_study: StudyMaker) -> None:
    study = invent_study()
    starting, stopped, empty, failed, waiting, _ = study.runs
    study.path(empty).mkdir()
    study.stop(stopped, epochs=1, saved_at=None)
    study.fail(failed, "KeyError: 'x'")
    with study.begin(starting, epochs=0):
        found = {run.spec: run for run in read(study)}
    assert (found[starting].state, found[starting].reason) == (State.RUNNING, "starting")
    assert found[starting].seconds_left is None
    assert (found[stopped].state, found[stopped].reason) == (State.STOPPED, "before its first checkpoint")
    assert found[empty].state == State.WAITING
    assert (found[waiting].state, found[waiting].reason) == (State.WAITING, "its baseline failed")


def test_a_large_study_is_counted_and_what_needs_eyes_is_listed(invent_study: StudyMaker) -> None:
    study = invent_study(pathologies="all", architectures=["mobilenet_v1", "densenet121"], seeds=[0, 1])
    study.finish(study.runs[0])
    study.fail(study.runs[1], "OSError: no space left")
    (study.folder.runs / "of.an.earlier.version").mkdir()
    shown = status(study)
    assert "168 runs in" in shown.stdout
    assert len(shown.stdout.splitlines()) < 20
    assert lines_with(shown.stdout, "baseline", "mobilenet_v1")[0].split() == [
        "baseline",
        "mobilenet_v1",
        "27",
        "·",
        "1",
    ]
    (failed,) = lines_with(shown.stdout, "no space left")
    assert "mobilenet_v1 · control · cosine · seed 0" in failed
    assert "not counted: 1 run folders of earlier versions of the study" in shown.stdout


def test_policies_of_one_name_are_told_apart(invent_study: StudyMaker) -> None:
    waves = [{"name": "triangular", "half_cycle_epochs": epochs} for epochs in (1, 2)]
    study = invent_study(pathologies=["effusion"], stages={"scratch": {"policies": waves}})
    shown = status(study)
    for spec in study.runs:
        assert lines_with(shown.stdout, f"Effusion · scratch · triangular · {spec.run_id}")


def test_watch_ends_with_the_last_run(invent_study: StudyMaker) -> None:
    study = invent_study(pathologies=["effusion"], stages={"scratch": {"policies": ["constant"]}})
    process = _watch(study)
    study.finish(study.runs[0])
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "1 run in" in output
    assert lines_with(output, "Effusion · scratch · constant", "0.900")


def test_watch_ends_with_ctrl_c(invent_study: StudyMaker) -> None:
    study = invent_study()
    study.fail(study.runs[0], "KeyError: 'x'")
    process = _watch(study)
    assert process.stdout is not None
    while "KeyError" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (1, "")


def _watch(study: Any) -> subprocess.Popen[str]:
    """Start it where it takes its output for a terminal, so that it draws at once."""
    command = ["status", str(study.file), "--results", str(study.results), "--watch", "--every", "0.2"]
    return subprocess.Popen(
        [sys.executable, "-m", "clr_hpc", *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"FORCE_COLOR": "1", "COLUMNS": "150"},
    )


def test_asking_again_reads_what_is_new(invent_study: StudyMaker) -> None:
    study = invent_study()
    watched = StudyStatus(study.folder)
    assert count(watched.read())[State.DONE] == 0
    study.finish(study.runs[0])
    assert count(watched.read())[State.DONE] == 1
    (study.path(study.runs[0]) / "result.json").unlink()
    assert count(watched.read())[State.DONE] == 1, "what is done is not read again"


def test_mistakes_are_told(invent_study: StudyMaker, tmp_path: Path) -> None:
    study = invent_study()
    study.results = tmp_path / "elsewhere"
    shown = status(study)
    assert shown.returncode == 2
    assert "no study was started here; start it with clr-hpc run, or give its --results" in " ".join(
        shown.stderr.split()
    )
    both = status(study, "--watch", "--json")
    assert both.returncode == 2
    assert "give one of them" in both.stderr


def test_durations_are_short() -> None:
    assert [duration(seconds) for seconds in (None, 0, 99, 100, 5940, 6000, 172_000, 200_000)] == [
        "",
        "0 s",
        "99 s",
        "2 min",
        "99 min",
        "1 h 40 min",
        "47 h 47 min",
        "2 d 7 h",
    ]
