"""In which order a machine's warm processes take runs."""

import math
from collections.abc import Collection, Sequence
from typing import Protocol

from clr_hpc.config.run import RunSpec
from clr_hpc.execution.worker import Outcome


class RunQueue(Protocol):
    """Where warm processes get their runs from."""

    def next_run(self, under_way: Collection[RunSpec]) -> RunSpec | None:
        """Return a run to start beside those under way; None where there is none at this moment."""

    def ended(self, spec: RunSpec, outcome: Outcome) -> None:
        """Hear what became of a run; of those that the end of all stopped nothing is heard."""

    def until_epochs(self, spec: RunSpec) -> float:
        """Return after how many epochs a run is to pause, with outcome ``stopped``; infinity: it doesn't."""

    @property
    def is_finished(self) -> bool:
        """Whether there is nothing to wait for, besides what is under way."""

    @property
    def wants_fresh_processes(self) -> bool:
        """Whether the processes are to be ended and started anew before they take another run."""

    def processes_started(self) -> None:
        """Hear that the processes are fresh."""


class ListedRuns:
    """Runs that nobody else trains, in their order, each after its baseline."""

    wants_fresh_processes = False

    def __init__(self, runs: Sequence[RunSpec]) -> None:
        """Take runs that are not done."""
        self._left = {spec.run_id: spec for spec in runs}

    def next_run(self, under_way: Collection[RunSpec]) -> RunSpec | None:
        """Return the first run that waits for no baseline."""
        taken = {spec.run_id for spec in under_way}
        for run_id, spec in self._left.items():
            if run_id not in taken and (spec.start is None or spec.start.baseline.run_id not in self._left):
                return spec
        return None

    def until_epochs(self, spec: RunSpec) -> float:  # noqa: ARG002
        """Let every run go on to its end."""
        return math.inf

    def ended(self, spec: RunSpec, outcome: Outcome) -> None:  # noqa: ARG002
        """Strike a run off, whatever became of it."""
        del self._left[spec.run_id]

    def processes_started(self) -> None:
        """Do nothing."""

    @property
    def is_finished(self) -> bool:
        """Whether all have ended."""
        return not self._left
