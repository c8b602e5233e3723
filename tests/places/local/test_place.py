"""``clr-hpc run`` as a user starts it: processes that are killed, stopped, and run again."""

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from trial_study import WAIT_SECONDS, TrialStudy, descendants_of, is_alive, on_one_core, wait_until

from clr_hpc.data.pack import Pack
from clr_hpc.places.machine import Processes
from clr_hpc.store.run_folder import read_metrics

TRAINING = {"epochs": 3, "image_size": 32, "batch_size": 16}
"""Long enough to be killed in the middle."""
Ended = tuple[TrialStudy, subprocess.CompletedProcess[str]]


def in_mid_epoch(study: TrialStudy, samples_per_epoch: int) -> bool:
    """Say whether a run has a checkpoint from within an epoch and has gone on since."""
    for folder in study.folders():
        saved = [int(path.stem) for path in (folder / "checkpoints").glob("*.safetensors")]
        seen = [entry["samples"] for entry in read_metrics(folder)]
        if saved and seen and max(seen) > max(saved) and max(saved) % samples_per_epoch:
            return True
    return False


@pytest.fixture(scope="module")
def ended(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Ended:
    """A study of two runs, trained one after the other and undisturbed, and what that command said.

    On one core, as what is compared with it, because the number of threads decides how sums are rounded.
    """
    study = TrialStudy.write(tmp_path_factory.mktemp("trial"), pack=str(small_pack.folder), training=TRAINING)
    return study, study.run(preexec_fn=on_one_core)


@pytest.mark.commands
def test_a_study_runs_and_runs_again_for_nothing(write_study: Callable[..., TrialStudy]) -> None:
    study = write_study(training=TRAINING | {"epochs": 1})
    first = study.run(preexec_fn=on_one_core)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("\ndone ") == 2
    assert "clr-hpc report" in first.stdout
    assert first.stderr == "", "also when the processes end"
    before = {folder: folder.stat().st_mtime_ns for folder in study.folders()}
    again = study.answer()
    assert again.exit_code == 0
    assert "2 runs, 2 done before" in again.stdout
    assert {folder: folder.stat().st_mtime_ns for folder in study.folders()} == before


@pytest.mark.commands
def test_killed_in_mid_epoch_and_run_again_ends_in_the_same_bytes(
    write_study: Callable[..., TrialStudy],
    ended: Ended,
    small_pack: Pack,
    tmp_path: Path,
) -> None:
    study = write_study(training=TRAINING)
    (tmp_path / "t").mkdir()
    samples_per_epoch = len(small_pack.rows_of("train")) // 16 * 16
    process = subprocess.Popen(
        study.command("--checkpoint-seconds", "0.2"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path / "t")},
        preexec_fn=on_one_core,
    )
    wait_until(lambda: in_mid_epoch(study, samples_per_epoch), "a checkpoint from within an epoch")
    workers = descendants_of(process)
    assert len(workers) >= 3, "a process that trains, the one that it was forked from, and multiprocessing's own"
    process.kill()
    process.wait()
    wait_until(lambda: not any(map(is_alive, workers)), "the workers to die with their parent")
    assert not list((tmp_path / "t").glob("pymp-*")), "the socket that processes are forked through goes, too"
    results = [folder / "result.json" for folder in study.folders()]
    assert not all(result.exists() for result in results), "killed too late to show a thing"

    second = study.run(preexec_fn=on_one_core)
    assert second.returncode == 0, second.stderr
    assert study.checksums() == ended[0].checksums()


@pytest.mark.commands
@pytest.mark.parametrize(
    ("options", "number", "code"),
    [((), signal.SIGINT, 130), (("--processes", "1", "--cohort", "2"), signal.SIGTERM, 143)],
    ids=["processes", "cohort"],
)
def test_ctrl_c_and_sigterm_save_and_say_how_to_go_on(
    options: tuple[str, ...], number: signal.Signals, code: int, write_study: Callable[..., TrialStudy]
) -> None:
    study = write_study(training={"epochs": 500, "image_size": 32, "batch_size": 16})
    # as a terminal does: the signal goes to the whole process group
    process = subprocess.Popen(study.command(*options), stdout=subprocess.PIPE, text=True, start_new_session=True)
    wait_until(lambda: _has_steps(study), "the first steps")
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == code
    assert "every run under way is saved. Resume with the same command: clr-hpc run" in " ".join(output.split())
    for folder in study.folders():
        assert list((folder / "checkpoints").glob("*.sha256"))
        assert not (folder / "result.json").exists()


def _has_steps(study: TrialStudy) -> bool:
    return len([folder for folder in study.folders() if read_metrics(folder)]) == 2


@pytest.mark.commands
def test_one_run_fails_and_the_others_finish(write_study: Callable[..., TrialStudy]) -> None:
    study = write_study(stages={"scratch": {"policies": [{"name": "constant", "lr_max": 1e38}, "constant"]}})
    outcome = study.run()
    assert outcome.returncode == 1
    assert "1 of 2 runs failed, and would fail again; change the study" in outcome.stderr
    assert "same command" not in outcome.stdout + outcome.stderr
    assert "lower lr_max" in outcome.stdout
    assert sorted(result["status"] for result in study.results()) == ["done", "failed"]


@pytest.mark.commands
def test_a_cohort_ends_in_the_bytes_of_a_process_a_run(
    write_study: Callable[..., TrialStudy], ended: Ended
) -> None:
    study = write_study(training=TRAINING)
    outcome = study.run("--cohort", "2", preexec_fn=on_one_core)
    assert outcome.returncode == 0, outcome.stderr
    assert "training 2 at a time, up to 2 side by side in each process" in " ".join(outcome.stdout.split())
    assert study.checksums() == ended[0].checksums()


@pytest.mark.commands
def test_a_process_that_dies_costs_its_run_three_tries_and_the_others_nothing(
    write_study: Callable[..., TrialStudy],
) -> None:
    study = write_study(
        training={"epochs": 500, "image_size": 32, "batch_size": 16},
        stages={"scratch": {"policies": ["constant"]}},
    )
    process = subprocess.Popen(study.command(), stdout=subprocess.PIPE, text=True)
    for _ in range(3):
        wait_until(lambda: bool(_trainers(process)), "a worker that has taken the run")
        _kill(*_trainers(process))
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == 1
    (result,) = study.results()
    assert "the process that trained it died 3 times without getting further" in result["reason"]
    assert "was killed by SIGKILL" in output


@pytest.mark.commands
def test_a_process_that_is_terminated_costs_nothing(
    write_study: Callable[..., TrialStudy], ended: Ended, tmp_path: Path
) -> None:
    """As oom daemons and administrators do it; the other commands of the same study wait for what this one has."""
    study = write_study(training=TRAINING)
    first, second = (
        subprocess.Popen(
            study.command(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, preexec_fn=on_one_core
        )
        for _ in range(2)
    )
    wait_until(lambda: bool(_trainers(first) + _trainers(second)), "a worker that has taken the run")
    os.kill((_trainers(first) + _trainers(second))[0], signal.SIGTERM)
    for process in (first, second):
        output, _ = process.communicate(timeout=WAIT_SECONDS)
        assert process.returncode == 0, output
        assert output.count("\ndone ") == 2
        assert "Traceback" not in output
        assert "leaked" not in output
    assert study.checksums() == ended[0].checksums()
    del tmp_path


@pytest.mark.commands
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_stopped_while_it_measures_a_command_leaves_nothing_and_has_a_last_word(
    number: signal.Signals, code: int, write_study: Callable[..., TrialStudy]
) -> None:
    study = write_study(training=TRAINING, architectures=["mobilenet_v1", "densenet121"])
    command = [word for word in study.command() if word != "--no-plan"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    wait_until(lambda: len(descendants_of(process)) >= 3, "processes that measure")
    os.killpg(process.pid, number)
    output, _ = process.communicate(timeout=WAIT_SECONDS)
    assert process.returncode == code
    assert "Traceback" not in output
    assert "leaked" not in output
    assert "Resume with the same command" in output.splitlines()[-1]


def _trainers(process: subprocess.Popen[Any]) -> list[int]:
    """Worker processes that have a run's lock file open."""
    return [child for child in descendants_of(process) if _holds_a_run(child)]


def _holds_a_run(process_id: int) -> bool:
    try:
        return any(str(link.readlink()).endswith("/.lock") for link in Path(f"/proc/{process_id}/fd").iterdir())
    except FileNotFoundError:
        return False


def _kill(victim: int) -> None:
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: not is_alive(victim), "the worker to be gone")


def test_a_damaged_pack_is_refused_by_name(
    write_study: Callable[..., TrialStudy], small_pack: Pack, tmp_path: Path
) -> None:
    import shutil

    damaged = tmp_path / "damaged"
    shutil.copytree(small_pack.folder, damaged)
    shard = damaged / small_pack.manifest.shards[0].file
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    outcome = write_study(pack=str(damaged)).answer()
    assert outcome.exit_code == 2
    assert str(shard) in outcome.stderr.replace("\n", "")


def test_cores_are_shared_among_processes() -> None:
    assert Processes.for_this_machine(1).threads == len(os.sched_getaffinity(0))
    many = Processes.for_this_machine(1000)
    assert (many.count, many.threads) == (1000, 1)
