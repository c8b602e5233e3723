"""``clr-hpc run`` as a user starts it: processes that are killed, stopped, and run again."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clr_hpc.data.packed import Pack
from clr_hpc.execution.inline import Processes
from clr_hpc.training.run_folder import read_metrics

pytestmark = pytest.mark.integration

CLR_HPC = [sys.executable, "-m", "clr_hpc.cli"]
WAIT_SECONDS = 180


@pytest.fixture
def write_study(small_pack: Pack, tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        values = {
            "name": "trial",
            "pack": str(small_pack.folder),
            "pathologies": ["cardiomegaly"],
            "optimizers": ["sgd"],
            "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.01}},
            "stages": {"scratch": {"policies": ["constant", {"name": "triangular", "half_cycle_epochs": 1}]}},
            "training": {"epochs": 2, "image_size": 32, "batch_size": 16},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(values | changes))
        return path

    return write


def command(study: Path, *options: str) -> list[str]:
    return [*CLR_HPC, "run", str(study), "--on", "here", "--results", str(study.parent / "results"), *options]


def run(study: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(study, *options), capture_output=True, text=True, timeout=WAIT_SECONDS, check=False
    )


def run_folders(study: Path, results: str = "results") -> list[Path]:
    return sorted((study.parent / results / "trial" / "runs").iterdir())


def results_of(study: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / "result.json").read_text()) for folder in run_folders(study)]


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s for {what}"
        time.sleep(0.05)


def children_of(process: subprocess.Popen[Any]) -> list[int]:
    found = subprocess.run(["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=False)
    return [int(number) for number in found.stdout.split()]


def is_alive(process_id: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{process_id}/status").read_text()
    except FileNotFoundError:
        return False


def in_mid_epoch(study: Path, samples_per_epoch: int) -> bool:
    """Say whether a run has a checkpoint from within an epoch and has gone on since."""
    for folder in run_folders(study) if (study.parent / "results" / "trial" / "runs").exists() else []:
        saved = [int(path.stem) for path in (folder / "checkpoints").glob("*.safetensors")]
        seen = [entry["samples"] for entry in read_metrics(folder)]
        if saved and seen and max(seen) > max(saved) and max(saved) % samples_per_epoch:
            return True
    return False


def test_a_study_runs_and_runs_again_for_nothing(write_study: Callable[..., Path]) -> None:
    study = write_study()
    first = run(study)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("\ndone ") == 2
    assert "clr-hpc report" in first.stdout
    before = {folder: folder.stat().st_mtime_ns for folder in run_folders(study)}
    again = run(study)
    assert again.returncode == 0
    assert "2 runs, 2 done before" in again.stdout
    assert {folder: folder.stat().st_mtime_ns for folder in run_folders(study)} == before


def test_killed_in_mid_epoch_and_run_again_ends_in_the_same_bytes(
    write_study: Callable[..., Path], small_pack: Pack, tmp_path: Path
) -> None:
    study = write_study(training={"epochs": 6, "image_size": 64, "batch_size": 16})
    samples_per_epoch = len(small_pack.rows_of("train")) // 16 * 16
    process = subprocess.Popen(
        command(study, "--checkpoint-seconds", "0.2"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    wait_until(lambda: in_mid_epoch(study, samples_per_epoch), "a checkpoint from within an epoch")
    workers = children_of(process)
    assert len(workers) >= 2
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_alive, workers)), "the workers to die with their parent")
    assert not any((folder / "result.json").exists() for folder in run_folders(study)), (
        "killed too late to show a thing"
    )

    second = run(study)
    assert second.returncode == 0, second.stderr
    undisturbed = tmp_path / "undisturbed"
    undisturbed.mkdir()
    calm_study = undisturbed / "study.yaml"
    calm_study.write_text(study.read_text())
    assert run(calm_study).returncode == 0
    interrupted = {folder.name: result["checkpoint_sha256"] for folder, result in _named(study)}
    calm = {folder.name: result["checkpoint_sha256"] for folder, result in _named(calm_study)}
    assert interrupted == calm


def _named(study: Path) -> list[tuple[Path, dict[str, Any]]]:
    return list(zip(run_folders(study), results_of(study), strict=True))


def test_ctrl_c_saves_and_says_how_to_go_on(write_study: Callable[..., Path]) -> None:
    study = write_study(training={"epochs": 500, "image_size": 32, "batch_size": 16})
    # as a terminal does: the signal goes to the whole process group
    process = subprocess.Popen(command(study), stdout=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: _has_steps(study), "the first steps")
    os.killpg(process.pid, signal.SIGINT)
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 130
    assert "every run under way is saved. Go on with the same command: clr-hpc run" in " ".join(output.split())
    for folder in run_folders(study):
        assert list((folder / "checkpoints").glob("*.sha256"))
        assert not (folder / "result.json").exists()


def _has_steps(study: Path) -> bool:
    runs = study.parent / "results" / "trial" / "runs"
    return runs.exists() and len([f for f in runs.iterdir() if read_metrics(f)]) == 2


def test_one_run_fails_and_the_others_finish(write_study: Callable[..., Path]) -> None:
    study = write_study(stages={"scratch": {"policies": [{"name": "constant", "lr_max": 1e38}, "constant"]}})
    outcome = run(study)
    assert outcome.returncode == 1
    assert "1 of 2 runs failed" in outcome.stdout
    assert "lower lr_max" in outcome.stdout
    assert sorted(result["status"] for result in results_of(study)) == ["done", "failed"]


def test_a_process_that_dies_costs_its_run_two_tries_and_the_others_nothing(
    write_study: Callable[..., Path],
) -> None:
    study = write_study(
        training={"epochs": 500, "image_size": 32, "batch_size": 16},
        stages={"scratch": {"policies": ["constant"]}},
    )
    process = subprocess.Popen(command(study), stdout=subprocess.PIPE, text=True)
    for _ in range(2):
        wait_until(lambda: bool(_trainers(process)), "a worker that has taken the run")
        _kill(*_trainers(process))
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    (result,) = results_of(study)
    assert "the process that trained it died twice" in result["reason"]
    assert "died twice" in output


def _trainers(process: subprocess.Popen[Any]) -> list[int]:
    """Worker processes that have a run's lock file open."""
    return [child for child in children_of(process) if _holds_a_run(child)]


def _holds_a_run(process_id: int) -> bool:
    try:
        return any(str(link.readlink()).endswith("/.lock") for link in Path(f"/proc/{process_id}/fd").iterdir())
    except FileNotFoundError:
        return False


def _kill(victim: int) -> None:
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not is_alive(victim), "the worker to be gone")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--set", "epoch=1"), "did you mean 'epochs'"),
        (("--set", "pack=nowhere"), "nowhere is not a pack"),
    ],
)
def test_mistakes_are_told_before_anything_starts(
    options: tuple[str, ...], message: str, write_study: Callable[..., Path]
) -> None:
    study = write_study()
    outcome = run(study, *options)
    assert outcome.returncode == 2
    assert message in outcome.stderr
    assert "Traceback" not in outcome.stderr
    assert not (study.parent / "results").exists()


def test_a_damaged_pack_is_refused_by_name(
    write_study: Callable[..., Path], small_pack: Pack, tmp_path: Path
) -> None:
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(small_pack.folder, damaged)
    shard = damaged / small_pack.manifest.shards[0].file
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    outcome = run(write_study(pack=str(damaged)))
    assert outcome.returncode == 2
    assert str(shard) in outcome.stderr.replace("\n", "")


def test_cores_are_shared_among_processes() -> None:
    assert Processes.for_this_machine(1).threads == len(os.sched_getaffinity(0))
    many = Processes.for_this_machine(1000)
    assert (many.count, many.threads) == (1000, 1)
