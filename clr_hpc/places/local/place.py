"""``--on here``: the runs of a study on this machine, several at a time, each in a process that stays warm.

As many runs as cores, of one thread each, train more images a second than one run on all cores: small networks on
small images don't keep several cores busy. On GPUs one process is started for each.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from clr_hpc.config.resources import LaneShape
from clr_hpc.config.run import RunSpec
from clr_hpc.places.base import Ended, Events, Place, TrainingJob
from clr_hpc.places.job import WorkerTask
from clr_hpc.places.machine import Processes, resources_here, visible_gpus
from clr_hpc.places.options import SearchOptions
from clr_hpc.places.processes.measured_plan import plan_if_possible
from clr_hpc.places.processes.pool import drain
from clr_hpc.places.queue import ListedRuns, Queue
from clr_hpc.places.signals import stop_on_interrupt
from clr_hpc.planning.plan import Plan, write_plan
from clr_hpc.training.run import ExitStatus


class Here(Place):
    """Warm processes of this machine."""

    name = "here"
    options = frozenset({"processes", "cohort", "profile"})

    def describe(self, job: TrainingJob, events: Events) -> None:
        """Show the plan, as far as throughput is known, and the runs in the order in which they would start."""
        if not job.show(events):
            return
        sharing = _sharing(job)
        plan = _plan(job, sharing, events)
        events.say(f"would train {sharing.count * sharing.cohort} at a time:")
        for spec in _in_order(job.missing, plan):
            events.say(f"  {spec.name}")

    def run(self, job: TrainingJob, events: Events) -> Ended:
        """Train in warm processes, in the order of the plan."""
        job.prepare()
        if not job.show(events):
            return Ended(is_complete=True)
        sharing = _sharing(job)
        plan = _plan(job, sharing, events)
        if plan is not None:
            write_plan(job.folder.path, plan, self.name)
        each = f", up to {sharing.cohort} side by side in each process" if sharing.cohort > 1 else ""
        events.say(f"training {sharing.count * sharing.cohort} at a time{each}")
        runs = _in_order(job.missing, plan)
        return Ended(drain_here(ListedRuns(runs), job.worker_task(), sharing, events.under_way, events.ended))

    @contextmanager
    def trials(self, options: SearchOptions) -> "Iterator[LocalTrials]":
        """Yield the processes that train a search's trials."""
        yield LocalTrials(Processes.for_this_machine(options.processes))


def _sharing(job: TrainingJob) -> Processes:
    return Processes.for_this_machine(job.options.processes, job.options.cohort)


def _plan(job: TrainingJob, sharing: Processes, events: Events) -> Plan | None:
    resources = resources_here()
    shape = LaneShape(cpus_per_worker=sharing.threads, gpus_per_worker=min(1.0, resources.gpus / sharing.count))
    return plan_if_possible(job, Here.ray_lanes, resources, [shape] * sharing.count, events)


def _in_order(runs: tuple[RunSpec, ...], plan: Plan | None) -> tuple[RunSpec, ...]:
    if plan is None:
        return runs
    position = {name: number for number, name in enumerate(plan.in_order())}
    return tuple(sorted(runs, key=lambda spec: position[spec.name]))


@dataclass(frozen=True)
class LocalTrials:
    """Processes of this machine that train a search's trials."""

    sharing: Processes

    @property
    def processor(self) -> str:
        """GPUs where there are any."""
        return "GPU" if visible_gpus() else "CPU"

    @property
    def processors(self) -> float:
        """A GPU, or the CPU threads of a run."""
        return 1 if self.processor == "GPU" else self.sharing.threads

    def train(self, queue: Queue, task: WorkerTask, say: Callable[[str], None]) -> bool:
        """Train in warm processes."""
        say(f"training {self.sharing.count} at a time")
        return drain_here(queue, task, self.sharing, lambda _: None, lambda *_: None)


def drain_here(
    queue: Queue,
    task: WorkerTask,
    processes: Processes,
    on_poll: Callable[[set[RunSpec]], None],
    on_end: Callable[[RunSpec, ExitStatus], None],
) -> bool:
    """Train what a queue gives in worker processes until it is finished.

    Args:
        queue: of runs.
        task: of all processes.
        processes: how many, and how many threads each.
        on_poll: called about twice a second with the runs that are being trained.
        on_end: called when a run ends.

    Returns:
        False where Ctrl-C stopped it; every run then under way has saved a checkpoint.
    """
    count, threads, cohort = processes.count, processes.threads, processes.cohort
    with stop_on_interrupt() as stop:
        return drain(queue, task, count, threads, lambda: stop.is_set, on_poll, on_end, cohort)
