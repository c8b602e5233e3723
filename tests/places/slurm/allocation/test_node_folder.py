"""A job's folder on a node: gone when its owner is, however that ended."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from trial_study import is_alive, wait_until

from clr_hpc.places.slurm.allocation.node_folder import UNLOCKED_SECONDS, node_folder, reap_dead

MAKES_ONE = """
import os, signal, subprocess, sys
from pathlib import Path
from clr_hpc.places.slurm.allocation.node_folder import node_folder
with node_folder("12", Path(sys.argv[1])) as folder:
    left = subprocess.Popen(["sleep", "1000"], stdout=(folder / "log").open("w"), start_new_session=True)
    print(folder, left.pid, flush=True)
    sys.stdin.read()
    if sys.argv[2] == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
"""


def start(place: Path, end: str) -> "tuple[subprocess.Popen[str], Path, int]":
    words = [sys.executable, "-c", MAKES_ONE, str(place), end]
    owner = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    folder, process = owner.stdout.readline().split()
    return owner, Path(folder), int(process)


def test_its_owner_takes_everything_along(tmp_path: Path) -> None:
    owner, folder, process = start(tmp_path, "ended")
    assert folder.stat().st_mode & 0o777 == 0o700
    owner.communicate()
    assert not folder.exists()
    assert not is_alive(process)


def test_what_a_killed_owner_left_is_swept_and_what_a_live_one_has_is_not(tmp_path: Path) -> None:
    killed, _, process_of_killed = start(tmp_path, "killed")
    alive, of_alive, process_of_alive = start(tmp_path, "ended")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    assert is_alive(process_of_killed)
    with node_folder("13", tmp_path) as folder:  # the next job on the node
        assert {path.name for path in tmp_path.iterdir()} == {of_alive.name, folder.name}
    wait_until(lambda: not is_alive(process_of_killed), "the process that was left to be ended")
    assert is_alive(process_of_alive)
    alive.communicate()
    assert not of_alive.exists()


def test_what_is_being_made_and_what_is_not_a_folder_of_ours_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "clr-hpc-job1-new").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "clr-hpc-job2-link").symlink_to(tmp_path / "elsewhere")
    old = tmp_path / "clr-hpc-job3-old"
    old.mkdir()
    os.utime(old, times=(0, old.stat().st_mtime - UNLOCKED_SECONDS - 1))
    assert reap_dead(tmp_path) == [old]
    assert {path.name for path in tmp_path.iterdir()} == {"clr-hpc-job1-new", "clr-hpc-job2-link", "elsewhere"}
