"""A study on a Ray cluster of three nodes, of which a worker, a node and the command itself are killed."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ray_cluster import RayNodes, ray_cluster
from trial_study import TrialStudy, is_alive, wait_until

from clr_hpc.places.ray.cluster import ON_THIS_MACHINE_ALONE, private_cluster_folder
from clr_hpc.store.checkpoints import newest_checkpoint

pytestmark = pytest.mark.cluster

LANES = 3


@pytest.fixture(scope="module")
def ray_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayNodes]:
    pytest.importorskip("ray")
    with ray_cluster(tmp_path_factory.mktemp("cluster"), LANES) as nodes:
        yield nodes


def spawn(ray_nodes: RayNodes, study: TrialStudy) -> subprocess.Popen[str]:
    options = ("--address", ray_nodes.address, "--lanes", str(LANES), "--checkpoint-seconds", "0.5")
    return subprocess.Popen(
        study.command(*options, on="ray"),
        env=ray_nodes.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


CONNECT = "import ray, sys; ray.init(address=sys.argv[1]); print('connected to', ray.nodes())"


@pytest.mark.parametrize("token", [None, "0" * 64])
def test_another_user_without_the_token_is_refused(token: str | None, ray_nodes: RayNodes) -> None:
    """To the network, another user is somebody without the token; that its file is private is tested below."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment |= (
        ON_THIS_MACHINE_ALONE
        | {"HOME": "/nonexistent"}
        | ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token} if token else {})
    )
    ray = Path(sys.executable).with_name("ray")
    attempts = [
        [sys.executable, "-c", CONNECT, ray_nodes.address],
        [str(ray), "job", "submit", "--address", ray_nodes.dashboard, "--", "echo", "mine now"],
        ["curl", "--silent", "--fail", "--show-error", f"{ray_nodes.dashboard}/api/jobs/"],
    ]
    for attempt in attempts:
        outcome = subprocess.run(
            attempt,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        said = outcome.stdout + outcome.stderr
        assert outcome.returncode != 0, said
        assert "connected to" not in said
        assert "mine now" not in said
        assert any(word in said.lower() for word in ("401", "403", "unauthenticated", "authentication")), said


def test_another_user_cannot_read_the_token_of_a_cluster_that_the_command_starts() -> None:
    with private_cluster_folder() as folder:
        token = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        assert token.parent == folder
        assert token.stat().st_mode & 0o077 == 0
        assert folder.stat().st_mode & 0o077 == 0
        if os.getuid() == 0:
            outcome = subprocess.run(
                ["cat", str(token)], user="nobody", capture_output=True, text=True, check=False
            )
            assert "Permission denied" in outcome.stderr
    assert not folder.exists()
    assert "RAY_AUTH_TOKEN_PATH" not in os.environ


def raylet_of(worker: int) -> int:
    status = Path(f"/proc/{worker}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("PPid:")))


def all_have_saved(study: TrialStudy) -> bool:
    """Say whether every lane trains a run that has a checkpoint, with some way to go."""
    training = study.holders()
    return len(training) == LANES and all(newest_checkpoint(folder) > 0 for folder in training.values())


@pytest.mark.slow  # four minutes on 2 cores
def test_a_worker_a_node_and_the_command_are_killed_and_nothing_is_lost_or_done_twice(
    write_study: Callable[..., TrialStudy], ray_nodes: RayNodes, tmp_path: Path
) -> None:
    study = write_study(
        pathologies=["cardiomegaly", "effusion"],
        stages={
            "baseline": {"policies": [{"name": "exponential", "gamma": 0.9}], "epochs": 30},
            "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 1}], "epochs": 10},
            "scratch": {"policies": ["constant"], "epochs": 30},
        },
    )
    command = spawn(ray_nodes, study)
    wait_until(lambda: all_have_saved(study), "three lanes that train and have saved")
    first = next(iter(study.holders()))
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: not is_alive(first), "the worker to be gone")
    training: dict[int, Path] = {}

    def is_one_away_from_the_head() -> bool:
        """The command is on the head, the first node."""
        training.clear()
        training.update(
            {
                worker: folder
                for worker, folder in study.holders().items()
                if raylet_of(worker) in ray_nodes.raylets[1:]
            }
        )
        return bool(training)

    wait_until(is_one_away_from_the_head, "a worker on a node that the command is not on")
    victim, folder = next(iter(training.items()))
    os.kill(raylet_of(victim), signal.SIGKILL)
    wait_until(lambda: not is_alive(victim), "the node's worker to be gone")
    wait_until(lambda: folder in study.holders().values(), "another lane to resume the node's run")
    command.kill()
    printed, _ = command.communicate(timeout=60)
    wait_until(lambda: not study.holders(), "the workers to end with their command")
    unfinished = [folder for folder in study.folders() if not (folder / "result.json").exists()]
    assert unfinished, "killed too late to show a thing"

    again = spawn(ray_nodes, study)
    printed_again, _ = again.communicate(timeout=600)
    assert again.returncode == 0, printed_again
    done = [line for line in (printed + printed_again).splitlines() if line.startswith("done ")]
    assert len(done) == len(set(done)) <= len(study.folders()) == 8
    undisturbed = study.copied_to(tmp_path / "undisturbed")
    assert undisturbed.run().returncode == 0
    assert study.checksums() == undisturbed.checksums()
