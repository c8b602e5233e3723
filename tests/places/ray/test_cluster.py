"""Where a cluster of this command's own lives, and what it takes to join another's."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from trial_study import is_alive, wait_until

from clr_hpc.places.ray.cluster import ClusterError, joining_settings

KILLED = """
import os, signal, subprocess, sys
from clr_hpc.places.ray.cluster import private_cluster_folder
with private_cluster_folder() as folder:
    left = subprocess.Popen(["sleep", "1000"], stdout=(folder / "log").open("w"), start_new_session=True)
    print(folder, left.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_nothing_is_left_of_a_cluster_whose_command_is_killed() -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL
    folder, process = killed.stdout.split()
    wait_until(lambda: not is_alive(int(process)), "the process that was left to be ended")
    wait_until(lambda: not Path(folder).exists(), "the folder to be removed")


SURVIVES = """
from clr_hpc.places.ray.cluster import private_cluster_folder
with private_cluster_folder() as folder:
    log = (folder / "log").open("w")
assert not folder.exists()
print("goes on")
"""


def test_a_command_goes_on_after_its_cluster() -> None:
    outcome = subprocess.run([sys.executable, "-c", SURVIVES], capture_output=True, text=True, check=False)
    assert outcome.stdout == "goes on\n", outcome.stderr


def test_joining_without_a_token_says_where_one_is_looked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ClusterError, match="set RAY_AUTH_TOKEN_PATH to the file"), joining_settings():
        pass
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").touch()
    with joining_settings():
        pass


CALLS_LATE = """
import sys
from clr_hpc.places.ray.train import cluster
with cluster(None, 1, 0):
    pass
import ray
try:
    ray.put(1)
except Exception as error:
    print(type(error).__name__)
print(ray.is_initialized())
"""


@pytest.mark.cluster
def test_a_call_after_the_clusters_end_starts_no_other() -> None:
    pytest.importorskip("ray")
    ended = subprocess.run([sys.executable, "-c", CALLS_LATE], capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["RaySystemError", "False"], ended.stderr
