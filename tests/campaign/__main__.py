"""Run a campaign: ``python -m tests.campaign --faults 200 --seed 1``."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from threading import Lock

from ray_cluster import ray_cluster
from slurm_cluster import slurm_cluster

from campaign.faults import LANES, PLACES, RAY, Fault, Moment, full_disk_is_possible
from campaign.study import NETWORK, RUNS, HungError, MissedError, Place, RayPlace, SlurmPlace, Trial, outcome

COUNTED = ("lost", "doubled", "tracebacks", "orphans", "left over", "bytes")
RERUNS = 4
DISK_MIB = 24
"""Of which a study takes two."""


@dataclass(frozen=True)
class Drawn:
    """A fault of the campaign; its number and the seed say all of it."""

    number: int
    place: str
    fault: Fault
    moment: Moment
    chance: Random

    @classmethod
    def of(cls, seed: int, number: int, places: list[str]) -> "Drawn":
        chance = Random(f"{seed}/{number}")
        (place,) = chance.choices(places, [PLACES[name][1] for name in places])
        fault = chance.choice(PLACES[place][0])
        return cls(number, place, fault, Moment.drawn(chance, fault.of_submission), chance)


@dataclass
class Ended:
    """What became of it."""

    drawn: Drawn
    how: str
    seconds: float = 0.0
    wrong: dict[str, list[str]] = field(default_factory=dict)
    """By the names of ``COUNTED``: what was found, one line each."""


class Campaign:
    """Places that are there, and the faults that fall on them."""

    def __init__(self, folder: Path, repeat: str) -> None:
        """Make the pack of all studies; ``repeat`` are the options that draw the same faults."""
        self._folder, self._repeat, self._printing = folder, repeat, Lock()
        self.pack = folder / "pack"
        words = ["pack", "phantom", "--images", "60", "--size", "32", "--output", str(self.pack)]
        subprocess.run([sys.executable, "-m", "clr_hpc", *words], check=True, stdout=subprocess.DEVNULL)

    def train_undisturbed(self, place: Place) -> None:
        """Train the study that all others of this place must equal."""
        trial = Trial.write(place, self.pack, self._folder / f"undisturbed {place.name}", Random(0))
        started = time.monotonic()
        trial.start()
        trial.commands[0].wait()
        place.command_seconds = time.monotonic() - started
        trial.await_end()
        place.seconds = time.monotonic() - started
        place.undisturbed = outcome(trial.study)
        place.leaves = frozenset(path.name for path in trial.temporary.iterdir())
        found = "\n".join(path.read_text(errors="replace") for path in trial.outputs)
        assert len(place.undisturbed) == RUNS, found
        self.say(f"undisturbed, {place.name}: {place.seconds:.0f} s")

    def run(self, drawn: Drawn, place: Place) -> Ended:
        """Let one fault fall, run the command again until the study has ended, and compare."""
        folder = self._folder / str(drawn.number)
        started = time.monotonic()
        with ExitStack() as stack:
            if drawn.fault.on_disk:
                if (reason := full_disk_is_possible(folder)) is not None:
                    return Ended(drawn, f"skipped: {reason}")
                stack.enter_context(_disk(folder))
            trial = Trial.write(place, self.pack, folder, drawn.chance)
            ended = Ended(drawn, "")
            try:
                self._disturb(trial, drawn, ended)
            except HungError as error:
                ended.how = "hung"
                ended.wrong["lost"] = [str(error)]
            finally:
                trial.kill()
            ended.seconds = time.monotonic() - started
            if ended.wrong and drawn.fault.on_disk:
                shutil.copytree(folder, folder.with_name(f"{drawn.number} kept"))
        if not ended.wrong:
            shutil.rmtree(folder)
        self._report(ended)
        return ended

    def _disturb(self, trial: Trial, drawn: Drawn, ended: Ended) -> None:
        place, fault = trial.place, drawn.fault
        wrong: dict[str, list[str]] = {name: [] for name in COUNTED}
        trial.start()
        undo, done, missed = None, {}, False
        try:
            drawn.moment.await_in(trial, place.command_seconds if fault.of_submission else place.seconds)
            done = trial.results()
            undo = fault.strike(trial)
        except MissedError:
            missed = True
        code = trial.await_end()
        if undo is not None:
            undo()
        if drawn.chance.random() < 0.5:
            wrong["orphans"] += _described(trial.orphans())
        reruns, advised = 0, False
        while not (code == 0 and trial.done == RUNS) and reruns < RERUNS:
            if not wrong["doubled"]:
                wrong["doubled"] += self._doubled(trial, done, fault)
            deleted = trial.follow_advice()
            advised |= bool(deleted)
            done = {name: ended for name, ended in (done | trial.results()).items() if name not in deleted}
            reruns += 1
            trial.start()
            code = trial.await_end()
        ended.how = "too late" if missed else f"rerun {reruns}x" if reruns else "went on"
        ended.how += ", as advised" if advised else ""
        wrong["orphans"] += _described(trial.orphans())
        wrong["doubled"] += self._doubled(trial, done, fault)
        wrong["tracebacks"] += trial.tracebacks()
        wrong["left over"] += trial.left_over(on_node=not fault.ends_all)
        found = outcome(trial.study, fault.without_metrics)
        for name, expected in place.undisturbed.items():
            if name not in found:
                wrong["lost"].append(name)
                continue
            differing = [file for file, value in found[name].items() if expected.get(file) != value]
            wrong["bytes"] += [f"{name}: {file}" for file in differing]
        ended.wrong = {name: lines for name, lines in wrong.items() if lines}

    def _doubled(self, trial: Trial, done: dict[str, str], fault: Fault) -> list[str]:
        """Return the runs that were done and were trained again, more than the fault accounts for."""
        now = trial.results()
        again = [name for name, ended in done.items() if name in now and now[name] != ended]
        return again if len(again) > fault.made_again else []

    def _report(self, ended: Ended) -> None:
        drawn = ended.drawn
        what = f"{drawn.number:4} {drawn.place}, {drawn.fault.kind}, {drawn.moment}"
        self.say(f"{what}: {ended.how}, {ended.seconds:.0f} s")
        for name, lines in ended.wrong.items():
            for line in lines:
                self.say(f"     {name}: {line}")
        if ended.wrong:
            files = f"{self._folder}/{drawn.number}{' kept' if drawn.fault.on_disk else ''}"
            self.say(f"     again: {self._repeat} --only {drawn.number}; files: {files}")

    def say(self, line: str) -> None:
        """Print a line at once."""
        with self._printing:
            print(line, flush=True)


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "tmpfs", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def _described(processes: list[int]) -> list[str]:
    found = []
    for process in processes:
        try:
            words = Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found.append(f"{process}: {words.strip()[:150]}")
    return found


def table(ended: list[Ended]) -> str:
    """Return the table of a campaign: a row for each kind and place, and a last one for all."""
    kinds = {(each.drawn.place, each.drawn.fault.kind): [] for each in ended}  # type: ignore[var-annotated]
    for each in ended:
        kinds[each.drawn.place, each.drawn.fault.kind].append(each)
    rows = [(kind, place, found) for (place, kind), found in sorted(kinds.items())]
    lines = [f"{'fault':34} {'place':22} faults  {'  '.join(COUNTED)}  how they ended"]
    for kind, place, found in [*rows, ("all", "", ended)]:
        wrong = [sum(len(each.wrong.get(name, ())) for each in found) for name in COUNTED]
        counts = "  ".join(f"{number:{len(name)}}" for name, number in zip(COUNTED, wrong, strict=True))
        hows = ", ".join(f"{number} {how}" for how, number in sorted(Counter(each.how for each in found).items()))
        lines.append(f"{kind:34} {place:22} {len(found):6}  {counts}  {hows}")
    return "\n".join(lines)


def main() -> int:
    """Run a campaign, print its table, and return how many faults showed something wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--faults", type=int, default=200, help="how many (%(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of all that is drawn (%(default)s)")
    parser.add_argument("--only", type=int, action="append", help="number of a fault to repeat alone (repeatable)")
    parser.add_argument("--places", default="here,ray,slurm", help="where they fall (%(default)s)")
    parser.add_argument("--at-once", type=int, default=1, help="how many studies on this machine (%(default)s)")
    given = parser.parse_args()
    places = [name for name in PLACES if name.split(",")[0] in given.places.split(",")]
    drawn = [Drawn.of(given.seed, number, places) for number in given.only or range(1, given.faults + 1)]
    paths = [str(NETWORK), os.environ.get("PYTHONPATH", "")]
    os.environ |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OMP_NUM_THREADS": "1"}

    folder = Path(tempfile.mkdtemp(prefix="clr-campaign-", dir="/tmp"))
    campaign = Campaign(folder, f"--seed {given.seed} --places {given.places}")
    with ExitStack() as stack:
        needed = {each.place for each in drawn}
        there = {name: place for name, place in _start(needed, folder, stack) if name in needed}

        for place in there.values():
            campaign.train_undisturbed(place)
        # places wait for different things: next to each other they take little longer than the longest of them
        with ExitStack() as pools:
            waiting = []
            for names, at_once in ((["here"], given.at_once), ([RAY, LANES], 1), (["slurm"], 1)):
                pool = pools.enter_context(ThreadPoolExecutor(at_once))
                waiting += [
                    pool.submit(campaign.run, one, there[one.place]) for one in drawn if one.place in names
                ]
            try:
                ended = [one.result() for one in waiting]
            except BaseException:
                for one in waiting:
                    one.cancel()
                raise
    print(table(ended))
    failed = sorted(each.drawn.number for each in ended if each.wrong)
    wrong = f"{len(failed)} of {len(ended)} faults showed something wrong"
    print(f"seed {given.seed}: {wrong}{': --only '.join(['', *map(str, failed)])}")
    if failed:
        print(f"their files are in {folder}")
    else:
        shutil.rmtree(folder)
    return 1 if failed else 0


def _start(names: set[str], folder: Path, stack: ExitStack) -> Iterator[tuple[str, Place]]:
    if "here" in names:
        yield "here", Place()
    if names & {RAY, LANES}:
        nodes = stack.enter_context(ray_cluster(folder, 3))
        yield RAY, RayPlace(RAY, nodes, "--lanes", "2")
        yield LANES, RayPlace(LANES, nodes, "--lanes", "1", "--workers-per-lane", "2")
    if "slurm" in names:
        yield "slurm", SlurmPlace(stack.enter_context(slurm_cluster(shared=(folder,))))


if __name__ == "__main__":
    sys.exit(main())
