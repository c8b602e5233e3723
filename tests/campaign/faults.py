"""The faults of a campaign, and the moments at which they fall."""

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from hypothesis import HealthCheck, Phase, given, seed, settings
from mutation import damage_of

from campaign.study import RUNS, MissedError, RayPlace, SlurmPlace, Trial
from clr_hpc.store import layout

Undo = Callable[[], None]
Strike = Callable[[Trial], Undo | None]
"""Does the damage; what it returns mends what a user would have to mend, once the command has ended."""
MIB = 2**20


@dataclass(frozen=True)
class Fault:
    """A kind of fault, and what the study may owe to it."""

    kind: str
    strike: Strike
    on_disk: bool = False
    """Whether the study needs a disk of its own."""
    made_again: bool = False
    """Whether a run that was done may be trained again: its files were removed or damaged."""
    without_metrics: bool = False
    """Whether lines of metrics may be missing: they were damaged, and cost no more than themselves."""
    ends_all: bool = False
    """Whether it ends all processes of a node at once, so that nobody is left to remove their temporary files."""
    of_submission: bool = False
    """Whether it falls while the command submits, and not while runs are trained."""


@dataclass(frozen=True)
class Moment:
    """When a fault falls: after a share of the undisturbed time, or some time after something was seen."""

    after: str
    number: int
    share: float

    @classmethod
    def drawn(cls, chance: Random, of_submission: bool) -> "Moment":
        after = "start" if of_submission else chance.choice(("start", "checkpoint", "checkpoint", "end"))
        last = RUNS // 2 if after == "end" else RUNS
        return cls(after, chance.randint(1, last), chance.random())

    def await_in(self, trial: Trial, seconds: float) -> None:
        """Wait until it has come.

        Raises:
            MissedError: the study ended before.
        """
        if self.after == "checkpoint":
            trial.wait(lambda: trial.saved() >= self.number or not trial.is_under_way)
        elif self.after == "end":
            trial.wait(lambda: trial.done >= self.number or not trial.is_under_way)
        time.sleep(self.share * (seconds if self.after == "start" else 0.5))
        if not trial.is_under_way:
            raise MissedError

    def __str__(self) -> str:
        """Say it in the table of faults that failed."""
        if self.after == "start":
            return f"at {self.share:.0%} of the time"
        return f"after {self.after} {self.number}"


def signalled(find: Callable[[Trial], int], number: signal.Signals) -> Strike:
    """Return what sends a signal; one that is stopped goes on after some seconds."""

    def strike(trial: Trial) -> None:
        process = find(trial)
        with suppress(ProcessLookupError):
            os.kill(process, number)
            if number == signal.SIGSTOP:
                time.sleep(trial.chance.uniform(0.5, 4))
                os.kill(process, signal.SIGCONT)

    return strike


def command_of(trial: Trial) -> int:
    """Return the command's process."""
    return trial.commands[0].pid


def raylet_of(trial: Trial) -> int:
    """Return the raylet of a node other than that of the command."""
    assert isinstance(trial.place, RayPlace)
    return trial.chance.choice(trial.place.nodes.raylets[1:])


def interrupt(trial: Trial) -> None:
    """Press Ctrl-C: a terminal sends it to the whole process group."""
    os.killpg(command_of(trial), signal.SIGINT)


def lose_node_of_ray(trial: Trial) -> Undo:
    """Kill a raylet, and bring another node once the command has ended."""
    assert isinstance(trial.place, RayPlace)
    nodes, lost = trial.place.nodes, raylet_of(trial)
    os.kill(lost, signal.SIGKILL)
    nodes.raylets.remove(lost)
    return nodes.add_node


def close_network(trial: Trial) -> None:
    """Close the connections of a worker, those to the other workers of its lane among them."""
    ours = {f"pid={process}," for process in trial.study.holders()}
    told = subprocess.run(["ss", "-tnpH", "state", "established"], capture_output=True, text=True, check=True)
    for line in told.stdout.splitlines():
        if any(process in line for process in ours):
            source, target = line.split()[2:4]
            subprocess.run(["ss", "-K", "src", source, "dst", target], capture_output=True, check=False)


def fill_disk(trial: Trial) -> Undo:
    """Fill the study's disk, for seconds or until the command has ended."""
    filler = trial.folder / "filler"

    def free() -> None:
        filler.unlink(missing_ok=True)

    with suppress(OSError), filler.open("wb") as file:  # it may be full already
        while True:
            file.write(bytes(MIB))
            file.flush()
    if trial.chance.random() < 0.5:
        time.sleep(trial.chance.uniform(0.5, 3))
        free()
    return free


def remove_run(trial: Trial) -> None:
    """Remove the folder of a run that is being trained, or of any that was begun."""
    folders = sorted(trial.study.holders().values()) or trial.study.folders()
    if not folders:
        raise MissedError
    shutil.rmtree(trial.chance.choice(folders), ignore_errors=True)


def damaged(name: str, of_study: bool = False) -> Strike:
    """Return what kills the command, and then damages a file as disks, killed writers and people do."""

    def strike(trial: Trial) -> None:
        study = trial.folder / "results" / "trial"
        pattern = name if of_study else f"runs/*/{name}"
        trial.wait(lambda: any(study.glob(pattern)) or not trial.is_under_way)
        if not trial.is_under_way:
            raise MissedError
        os.kill(command_of(trial), signal.SIGKILL)
        trial.commands[0].wait()
        trial.wait(lambda: not trial.study.holders())
        file = trial.chance.choice(sorted(study.glob(pattern)))
        file.write_bytes(_damage(file.name, file.read_bytes(), trial.chance))

    return strike


def _damage(name: str, content: bytes, chance: Random) -> bytes:
    if not content:
        return b"\xff"
    drawn: list[bytes] = []

    @seed(chance.getrandbits(32))
    @settings(max_examples=15, database=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(damage_of(name)(content))
    def draw(example: bytes) -> None:
        drawn.append(example)

    draw()
    return next((example for example in reversed(drawn) if example != content), b"")


def start_second(trial: Trial) -> None:
    """Start the same command while the first one trains, and wait for the first."""
    first = trial.commands[-1]
    trial.start()
    trial.wait(lambda: first.poll() is not None)


def lose_node_of_slurm(trial: Trial) -> Undo:
    """End all of a node's processes, and start it anew once SLURM has seen that."""
    assert isinstance(trial.place, SlurmPlace)
    cluster, node = trial.place.cluster, trial.chance.choice(("node01", "node02"))
    cluster.kill_node(node, reported=True)
    trial.wait(lambda: cluster.node_state(node).startswith("down"))
    cluster.start_node(node)
    return lambda: trial.wait(lambda: cluster.node_state(node) in ("idle", "mixed", "allocated"))


def on_jobs(*words: str) -> Strike:
    """Return what has SLURM do something to the jobs of the study."""

    def strike(trial: Trial) -> None:
        assert isinstance(trial.place, SlurmPlace)
        told = trial.place.cluster.output("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%A")
        if not told:
            raise MissedError
        trial.place.cluster.run(*words, trial.chance.choice(told.split()))

    return strike


FORMATS = {
    layout.SPEC: {},
    layout.ENVIRONMENT: {},
    layout.ARCHITECTURE: {},
    layout.METRICS: {"without_metrics": True},
    layout.LEASE: {},
    f"{layout.CHECKPOINTS}/*.safetensors": {},
    f"{layout.CHECKPOINTS}/*.sha256": {},
    layout.BEST: {},
    f"{layout.SNAPSHOTS}/*.safetensors": {},
    layout.PREDICTIONS: {},
    layout.RESULT: {},
}
SIGNALS = {"kill -9": signal.SIGKILL, "SIGTERM": signal.SIGTERM, "SIGSTOP": signal.SIGSTOP}


def _signals(what: str, find: Callable[[Trial], int], **more: bool) -> list[Fault]:
    return [Fault(f"{what}: {name}", signalled(find, number), **more) for name, number in SIGNALS.items()]


COMMON = [
    *_signals("command", command_of),
    *_signals("worker", Trial.worker),
    Fault("removed run folder", remove_run, made_again=True),
]
ON_THIS_MACHINE = [
    *COMMON,
    Fault("command: Ctrl-C", interrupt),
    *_signals("fork server", Trial.fork_server),
    Fault("full disk", fill_disk, on_disk=True),
    Fault("second command", start_second),
    *(Fault(f"damaged {name}", damaged(name), made_again=True, **more) for name, more in FORMATS.items()),
    *(Fault(f"damaged {name}", damaged(name, of_study=True)) for name in (layout.STUDY, layout.PACK)),
]
ON_RAY = [
    *COMMON,
    Fault("command: Ctrl-C", interrupt),
    Fault("raylet: kill -9", lose_node_of_ray),
    Fault("raylet: SIGSTOP", signalled(raylet_of, signal.SIGSTOP)),
]
IN_LANES = [*COMMON, Fault("closed network", close_network), Fault("raylet: kill -9", lose_node_of_ray)]
ON_SLURM = [
    *_signals("command", command_of, of_submission=True),
    *_signals("job's process", Trial.worker),
    Fault("node: power failure", lose_node_of_slurm, ends_all=True),
    Fault("job: scancel", on_jobs("scancel")),
    Fault("job: requeue", on_jobs("scontrol", "requeue"), ends_all=True),
    Fault("second command", start_second),
    Fault("removed run folder", remove_run, made_again=True),
]
RAY, LANES = "ray", "ray, 2 workers a lane"
PLACES = {"here": (ON_THIS_MACHINE, 150), RAY: (ON_RAY, 18), LANES: (IN_LANES, 12), "slurm": (ON_SLURM, 20)}
"""The faults of each place, and how many of 200 fall there."""


def full_disk_is_possible(folder: Path) -> str | None:
    """Return why no disk of its own can be given to a study; None where that is possible."""
    folder.mkdir(exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(folder)], capture_output=True, text=True)
    if done.returncode == 0:
        subprocess.run(["umount", str(folder)], check=True)
        return None
    return f"no disk of its own can be mounted: {done.stderr.strip()}"
