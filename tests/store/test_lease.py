"""Leases on a run: who gets it, who loses it, and what a process notices that was away."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from made_records import step_values

from clr_hpc.config.optimizer import Sgd
from clr_hpc.config.policy import Constant
from clr_hpc.config.run import RunSpec, Training
from clr_hpc.config.task import BinaryTask
from clr_hpc.store.layout import LEASE
from clr_hpc.store.lease import (
    Lease,
    LeaseHolder,
    LeaseLostError,
    LeaseTiming,
    RunInUseError,
    SeenLease,
    read_lease,
    successor_path,
)
from clr_hpc.store.run_folder import RunFolder, read_metrics

QUICK = LeaseTiming(renew_seconds=0.05, stale_seconds=0.5, skew_seconds=100)
SLOW = LeaseTiming(renew_seconds=1000, stale_seconds=1000)
WAIT_SECONDS = 60
SPEC = RunSpec(
    pack_checksum="0" * 64,
    task=BinaryTask(pathology="effusion"),
    architecture="mobilenet_v1",
    optimizer=Sgd(),
    stage="scratch",
    policy=Constant(lr_max=0.01),
    training=Training(epochs=1, image_size=32),
)


def on(machine: str) -> LeaseHolder:
    return replace(LeaseHolder.this_process("lane 1"), machine=machine, host=machine)


@pytest.fixture
def lease(tmp_path: Path) -> Iterator[Callable[..., Lease]]:
    """Return a function that makes leases, all of which are released at the end."""
    made = []

    def make(machine: str, timing: LeaseTiming = QUICK) -> Lease:
        made.append(Lease(tmp_path, on(machine), timing))
        return made[-1]

    yield make
    for one in made:
        one.release()


def leave_lease(path: Path, machine: str, age_seconds: float) -> LeaseHolder:
    """Write the lease of a process that renews it no more."""
    holder = on(machine)
    path.write_text(json.dumps(asdict(holder)))
    os.utime(path, (time.time() - age_seconds,) * 2)
    return holder


def wait_until(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"waited {WAIT_SECONDS} s for {what}"
        time.sleep(0.01)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_it_says_who_trains_and_goes_when_it_is_released(lease: Callable[..., Lease], tmp_path: Path) -> None:
    first = lease("node1")
    first.acquire(alone_on_machine=False)
    assert names(tmp_path) == {LEASE}
    written = json.loads((tmp_path / LEASE).read_text())
    assert (written["host"], written["pid"], written["place"]) == ("node1", os.getpid(), "lane 1")
    with pytest.raises(RunInUseError, match=rf"process {os.getpid()} on node1 \(lane 1\) trains this run"):
        lease("node2").acquire(alone_on_machine=True)
    first.release()
    assert names(tmp_path) == set()
    lease("node2").acquire(alone_on_machine=True)


def test_it_is_renewed_and_a_live_one_outlives_its_time(lease: Callable[..., Lease], tmp_path: Path) -> None:
    lease("node1").acquire(alone_on_machine=False)
    seen = [read_lease(tmp_path)]
    for _ in range(3):
        wait_until(lambda: read_lease(tmp_path) != seen[-1], "a renewal")
        seen.append(read_lease(tmp_path))
    ages = [one.renewed for one in seen if one is not None]
    assert ages == sorted(set(ages))


def test_a_dead_one_is_taken_over_after_a_watch(lease: Callable[..., Lease], tmp_path: Path) -> None:
    leave_lease(tmp_path / LEASE, "node1", age_seconds=1)
    before = time.monotonic()
    lease("node2").acquire(alone_on_machine=True)
    assert time.monotonic() - before >= QUICK.stale_seconds
    assert names(tmp_path) == {LEASE}
    assert json.loads((tmp_path / LEASE).read_text())["host"] == "node2"


def test_one_that_is_fresh_or_of_the_future_holds(lease: Callable[..., Lease], tmp_path: Path) -> None:
    for age_seconds in (0, 900, -5000):
        leave_lease(tmp_path / LEASE, "node1", age_seconds)
        with pytest.raises(RunInUseError, match="node1"):
            lease("node2", SLOW).acquire(alone_on_machine=True)
    assert names(tmp_path) == {LEASE}


def test_clocks_that_differ_do_not_make_a_live_one_dead(lease: Callable[..., Lease], tmp_path: Path) -> None:
    """The holder's machine lies 50 s behind, so that its lease is always 50 s old."""
    path = tmp_path / LEASE
    leave_lease(path, "node1", age_seconds=50)
    ended = threading.Event()

    def renew() -> None:
        while not ended.wait(0.1):
            os.utime(path, (time.time() - 50,) * 2)

    renewing = threading.Thread(target=renew)
    renewing.start()
    try:
        with pytest.raises(RunInUseError, match="node1"):
            lease("node2").acquire(alone_on_machine=True)
    finally:
        ended.set()
        renewing.join()


def test_of_many_takers_one_wins(tmp_path: Path) -> None:
    takers = 8
    with ThreadPoolExecutor(takers) as pool:
        for trial in range(15):
            folder = tmp_path / str(trial)
            folder.mkdir()
            leave_lease(folder / LEASE, "node0", age_seconds=1e6)
            start = threading.Barrier(takers)

            def take(number: int, folder: Path = folder, start: threading.Barrier = start) -> Lease | None:
                one = Lease(folder, on(f"node{number + 1}"), SLOW)
                start.wait()
                with suppress(RunInUseError):
                    one.acquire(alone_on_machine=True)
                    return one
                return None

            winners = [one for one in pool.map(take, range(takers)) if one is not None]
            assert len(winners) == 1
            winners[0].confirm()
            winners[0].release()
            assert names(folder) == set()


def test_takers_that_look_at_the_same_moment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both find the dead lease in place, and would both replace it, if one of them were not held up before."""
    leave_lease(tmp_path / LEASE, "node0", age_seconds=1e6)
    both_have_looked = threading.Barrier(2)

    def look(folder: Path, until: LeaseHolder | None = None) -> SeenLease | None:
        seen = read_lease(folder, until)
        if until is not None:
            with suppress(threading.BrokenBarrierError):
                both_have_looked.wait(0.3)
        return seen

    monkeypatch.setattr("clr_hpc.store.lease.read_lease", look)
    takers = [Lease(tmp_path, on(f"node{number}"), SLOW) for number in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        took_it = list(pool.map(took, takers))
    assert sorted(took_it) == [False, True]
    winner = takers[took_it.index(True)]
    winner.confirm()
    winner.release()


def test_a_taker_that_died_half_way_is_the_holder_and_has_a_successor(
    lease: Callable[..., Lease], tmp_path: Path
) -> None:
    dead = leave_lease(tmp_path / LEASE, "node1", age_seconds=1e6)
    succession = successor_path(tmp_path, dead)
    leave_lease(succession, "node2", age_seconds=0)
    with pytest.raises(RunInUseError, match="node2"):
        lease("node3", SLOW).acquire(alone_on_machine=True)
    os.utime(succession, (0, 0))
    lease("node3").acquire(alone_on_machine=True)
    assert json.loads((tmp_path / LEASE).read_text())["host"] == "node3"


@pytest.mark.parametrize("kind", ["claim", "after"])
def test_what_killed_takers_left_is_removed_and_what_live_ones_need_is_not(
    kind: str, lease: Callable[..., Lease], tmp_path: Path
) -> None:
    dead, alive, old, new = (tmp_path / f".lease.{kind}.{name}" for name in ("dead", "alive", "old", "new"))
    this = LeaseHolder.this_process("lane 1")
    dead.write_text(json.dumps(asdict(replace(this, pid=2**22 + 1))))
    alive.write_text(json.dumps(asdict(this)))
    leave_lease(old, "node1", age_seconds=1000)
    leave_lease(new, "node1", age_seconds=0)
    lease("node2").acquire(alone_on_machine=True)
    assert names(tmp_path) == {LEASE, alive.name, new.name}


def test_what_is_left_of_a_removed_folder_is_not_resumed(tmp_path: Path) -> None:
    """A process that was writing makes a folder again; steps and snapshots from before are gone."""
    saved = tmp_path / "run" / "checkpoints" / "000000000032.safetensors"
    with RunFolder(tmp_path / "run", QUICK).open(SPEC, {"host": "here"}, "lane 1"):
        shutil.rmtree(tmp_path / "run")
        saved.parent.mkdir(parents=True)
        saved.touch()
    with RunFolder(tmp_path / "run", QUICK).open(SPEC, {"host": "here"}, "lane 1"):
        assert not saved.exists()
        saved.touch()
    with RunFolder(tmp_path / "run", QUICK).open(SPEC, {"host": "here"}, "lane 1"):
        assert saved.exists(), "as after any kill"


@pytest.mark.parametrize("text", ["", '{"host": "node1"}', "[]", "no JSON"])
def test_an_unreadable_one_ends_like_any_other(text: str, lease: Callable[..., Lease], tmp_path: Path) -> None:
    path = tmp_path / LEASE
    path.write_text(text)
    with pytest.raises(RunInUseError, match="unreadable lease"):
        lease("node2", SLOW).acquire(alone_on_machine=True)
    os.utime(path, (0, 0))
    lease("node2").acquire(alone_on_machine=True)


def test_the_holder_notices_that_its_run_was_taken(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run", QUICK)
    with folder.open(SPEC, {"host": "here"}, "lane 1"):
        folder.resume_at(0)
        folder.record_step(32, **step_values())
        taken_by = leave_lease(folder.path / "aside", "node2", age_seconds=0)
        (folder.path / "aside").replace(folder.path / LEASE)
        wait_until(lambda: folder._lease is not None and folder._lease._ended.is_set(), "the next renewal")
        for write in (
            lambda: folder.record_step(64, loss=0.5, elapsed_seconds=2.0),
            lambda: folder.record_epoch(64, 1.0, "train", {"loss": 0.5}, 2.0),
            lambda: folder.resume_at(0),
            lambda: folder.finish({"status": "failed"}),
        ):
            with pytest.raises(LeaseLostError, match=r"node2 \(lane 1\) has taken this run over"):
                write()
    assert not (folder.path / "result.json").exists()
    assert [entry["samples"] for entry in read_metrics(folder.path)] == [32]
    lease = read_lease(folder.path)
    assert lease is not None
    assert lease.by == taken_by, "it isn't released by the one that lost it"


@pytest.mark.parametrize("removed", ["folder", "lease"])
def test_a_run_that_is_removed_while_it_is_trained_gets_no_result(removed: str, tmp_path: Path) -> None:
    """It would lack what was recorded before, without a word: steps, snapshots and what is computed from them."""
    with RunFolder(tmp_path / "run", SLOW).open(SPEC, {"host": "here"}, "lane 1") as folder:
        folder.resume_at(0)
        folder.record_step(32, **step_values())
        if removed == "folder":
            # a thread that writes may be quicker than the removal, and leaves a folder
            shutil.rmtree(folder.path, ignore_errors=True)
            folder.path.mkdir(exist_ok=True)
        else:
            (folder.path / LEASE).unlink()
        for write in (
            lambda: folder.record_step(64, **step_values()),
            lambda: folder.finish({"status": "failed"}),
        ):
            with pytest.raises(LeaseLostError, match=r"lease\.json was removed"):
                write()
    assert not (folder.path / "result.json").exists()


def test_it_is_looked_at_before_a_write_when_the_last_renewal_is_long_past(
    monkeypatch: pytest.MonkeyPatch, lease: Callable[..., Lease], tmp_path: Path
) -> None:
    """As after a suspension, when the process goes on before its thread for renewals does."""
    monkeypatch.setattr(Lease, "_beat", lambda _: None)
    holder = lease("node1")
    holder.acquire(alone_on_machine=False)
    first = read_lease(tmp_path)
    wait_until(lambda: holder.confirm() or read_lease(tmp_path) != first, "a renewal on the way")
    leave_lease(tmp_path / "aside", "node2", age_seconds=0)
    (tmp_path / "aside").replace(tmp_path / LEASE)
    wait_until(lambda: is_lost(holder), "the loss to be noticed")


def is_lost(lease: Lease) -> bool:
    try:
        lease.confirm()
    except LeaseLostError:
        return True
    return False


TRAIN = """
import sys, time
from pathlib import Path
from clr_hpc.store.lease import LeaseLostError, LeaseTiming
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.config.run import RunSpec

spec = RunSpec.model_validate_json(sys.argv[2])
folder = RunFolder(Path(sys.argv[1]), LeaseTiming(renew_seconds=float(sys.argv[3]), stale_seconds=0.5))
with folder.open(spec, {}, "lane 1"):
    for step in range(100_000):
        try:
            folder.record_step(step, progress=0.0, loss=1.0, lr=0.1, images_per_second=1.0, elapsed_seconds=0.0)
        except LeaseLostError as error:
            sys.exit(str(error))
        time.sleep(0.001)
"""


@pytest.fixture
def train(tmp_path: Path) -> Iterator[Callable[[float], subprocess.Popen[str]]]:
    """Return a function that starts a process which records steps in ``tmp_path / 'run'``."""
    started = []

    def start(renew_seconds: float) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", TRAIN, str(tmp_path / "run"), SPEC.model_dump_json(), str(renew_seconds)]
        started.append(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
        wait_until(lambda: len(read_metrics(tmp_path / "run")) > 2, "the first steps")
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_one_that_was_suspended_writes_nothing_more(
    train: Callable[[float], subprocess.Popen[str]], tmp_path: Path
) -> None:
    suspended = train(0.1)
    suspended.send_signal(signal.SIGSTOP)
    wait_until(lambda: "\nState:\tT" in Path(f"/proc/{suspended.pid}/status").read_text(), "the suspension")
    run = tmp_path / "run"
    taker = Lease(run, on("node2"), QUICK)
    wait_until(lambda: took(taker), "the lease to be taken over")
    before = len(read_metrics(run))
    suspended.send_signal(signal.SIGCONT)
    _, said = suspended.communicate(timeout=WAIT_SECONDS)
    assert "node2 (lane 1) has taken this run over" in said
    assert len(read_metrics(run)) - before <= 1, "at most the line that it was about to write"
    taker.confirm()
    taker.release()


def took(lease: Lease) -> bool:
    try:
        lease.acquire(alone_on_machine=False)
    except RunInUseError:
        return False
    return True


def test_a_dead_process_of_this_machine_holds_nothing(
    train: Callable[[float], subprocess.Popen[str]], tmp_path: Path
) -> None:
    process = train(0.1)
    run = RunFolder(tmp_path / "run", SLOW)
    with pytest.raises(RunInUseError):
        run.open(SPEC, {}, "lane 2")
    process.kill()
    process.wait()
    assert (run.path / LEASE).exists()
    with run.open(SPEC, {}, "lane 2"):
        lease = read_lease(run.path)
        assert lease is not None
        assert lease.by.pid == os.getpid()
    assert read_lease(run.path) is None
