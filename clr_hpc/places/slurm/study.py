"""A study that was submitted to SLURM: its runs and its ledger together."""

from collections.abc import Sequence
from pathlib import Path

from clr_hpc.config.run import RunSpec
from clr_hpc.monitoring.status import NothingThereError, runs_as_started
from clr_hpc.places.slurm.ledger import Ledger
from clr_hpc.store.study_folder import StudyFolder


class SlurmStudy:
    """What the commands read that look after jobs."""

    def __init__(self, study_folder: Path) -> None:
        """Read the study as it was submitted last.

        Raises:
            NothingThereError: it was never submitted.
            StudyError: its file can't be read any more.
        """
        self.folder = StudyFolder(study_folder.absolute())
        self.ledger = Ledger(self.folder.path)
        self.runs = runs_as_started(self.folder)
        if not self.ledger.exists:
            raise NothingThereError(
                f"{study_folder}: the study was never submitted to SLURM; clr-hpc run STUDY --on slurm does that"
            )

    @property
    def unfinished(self) -> tuple[RunSpec, ...]:
        """The runs that are not done."""
        return self.folder.unfinished(self.runs)

    @property
    def done_names(self) -> set[str]:
        """The names of the runs that are done."""
        return {spec.name for spec in self.runs} - {spec.name for spec in self.unfinished}

    def find(self, words: Sequence[str], only_one: bool = False) -> list[RunSpec]:
        """Return the runs whose names contain one of these words.

        Raises:
            NothingThereError: a word is in no name, or in several although only one may be meant.
        """
        found: dict[str, RunSpec] = {}
        for word in words:
            named = [spec for spec in self.runs if word in spec.name]
            if not named:
                raise NothingThereError(f"no run of {self.folder.path} has {word!r} in its name; see its runs/")
            if only_one and len(named) > 1:
                some = "; ".join(spec.name for spec in named[:5])
                raise NothingThereError(f"{word!r} is in the names of {len(named)} runs: {some}; give more of one")
            found |= {spec.name: spec for spec in named}
        return list(found.values())
