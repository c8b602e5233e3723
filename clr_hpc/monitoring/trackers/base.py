"""The interface of a tracker, and how one is found by its name."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

from clr_hpc.config.plugins import load_plugin, plugins, require
from clr_hpc.config.study import TRACKER_GROUP, TRACKERS, checked_tracker
from clr_hpc.monitoring.trackers.read import TrackedRun


@dataclass(frozen=True)
class Mark:
    """How far a tracker has a run."""

    samples: int
    """Everything recorded up to here, in samples seen."""
    state: str
    """As ``monitoring.status.State``."""


class Tracker(ABC):
    """A service, or a folder, that shows runs of many studies.

    A method that fails may raise anything: the run folders stay, and the next round makes up for it.
    """

    name: ClassVar[str]
    needs: ClassVar[str | None] = None
    """The package that it imports, which the extra of its own name installs."""
    only_ended: ClassVar[bool] = False
    """Whether it gets each run complete when that has ended; else also while it is trained, and what is new."""

    def check(self) -> None:
        """See in the first second that it can be used here, without asking the network.

        Raises:
            UserError: a package or a setting is missing.
        """
        if self.needs is not None:
            require(self.needs, self.name, f"tracker {self.name}")

    @abstractmethod
    def open(self, study: str, study_id: str, folder: Path) -> dict[str, Mark]:
        """Connect, and return what it has of the study's runs, by ``TrackedRun.key``.

        Args:
            study: its name.
            study_id: that of its folder, wherever that is moved.
            folder: for files of this tracker; may not be there yet.
        """

    @abstractmethod
    def write(self, run: TrackedRun) -> None:
        """Add a run, or what it has since the last mark, and then the mark."""

    @abstractmethod
    def write_report(self, files: Mapping[str, Path], digest: str) -> None:
        """Keep the files by name, unless those with this digest are there."""

    def close(self) -> None:  # noqa: B027
        """Leave the connection."""

    @property
    def address(self) -> str:
        """Where a person finds the study."""
        return ""


def find_tracker(name: str) -> Tracker:
    """Return a tracker by its name.

    Raises:
        UserError: there is none, or what a package gives for it can't be loaded or is no tracker.
    """
    if checked_tracker(name) in TRACKERS:
        module, _, attribute = TRACKERS[name].partition(":")
        found: Any = getattr(import_module(module), attribute)
    else:
        found = load_plugin(plugins(TRACKER_GROUP)[name], _is_tracker, "a subclass of Tracker")
    tracker: Tracker = found()
    return tracker


def _is_tracker(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, Tracker)
