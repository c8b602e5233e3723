"""Trains what a benchmark's study folder lacks, so that a benchmark that was stopped goes on."""

from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.local.place import drain_here
from clr_hpc.places.machine import Processes
from clr_hpc.places.queue import ListedRuns
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.run import RunSettings


def train_missing(pack: Path, runs: tuple[RunSpec, ...], folder: StudyFolder) -> None:
    """Train on this machine those runs that have no result yet, and print how each ends."""
    folder.runs.mkdir(parents=True, exist_ok=True)
    drain_here(
        ListedRuns(folder.unfinished(runs)),
        WorkerTask(pack, folder.runs, RunSettings()),
        Processes.for_this_machine(None),
        lambda _: None,
        lambda spec, outcome: print(outcome, spec.name, flush=True),
    )
