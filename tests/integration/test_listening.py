"""What listens while a study trains: all of it on 127.0.0.1, so that nobody on the network reaches it."""

import signal
import subprocess
from collections.abc import Callable

import pytest
from listening import listening_of
from trial_study import WAIT_SECONDS, TrialStudy, wait_until

pytestmark = pytest.mark.cluster


def listening_while_it_trains(study: TrialStudy, at_once: int, *options: str, on: str) -> dict[str, str]:
    with subprocess.Popen(study.command(*options, on=on), stdout=subprocess.PIPE, text=True) as command:
        wait_until(lambda: sum((run / "metrics.jsonl").exists() for run in study.folders()) == at_once, "steps")
        sockets = listening_of(command)
        command.send_signal(signal.SIGINT)
        printed, _ = command.communicate(timeout=WAIT_SECONDS)
    assert command.returncode == 130, printed
    return sockets


@pytest.fixture
def long_study(write_study: Callable[..., TrialStudy]) -> TrialStudy:
    return write_study(training={"epochs": 400, "image_size": 32, "batch_size": 16})


@pytest.mark.parametrize(("lanes", "workers"), [(2, 1), (1, 2)])
def test_a_cluster_of_this_machine_listens_on_it_alone(lanes: int, workers: int, long_study: TrialStudy) -> None:
    pytest.importorskip("ray")
    options = ("--lanes", str(lanes), "--workers-per-lane", str(workers), "--cpus", "2")
    sockets = listening_while_it_trains(long_study, lanes, *options, on="ray")
    assert len(sockets) > 3 + lanes * workers, "Ray's own, and one per worker at least"
    elsewhere = {address: words for address, words in sockets.items() if not address.startswith("127.0.0.1:")}
    assert elsewhere == {}


def test_warm_processes_listen_nowhere(long_study: TrialStudy) -> None:
    assert listening_while_it_trains(long_study, 2, "--processes", "2", on="here") == {}
