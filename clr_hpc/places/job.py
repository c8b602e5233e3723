"""What a command gives to the processes that train, whichever place starts them."""

from dataclasses import dataclass
from pathlib import Path

from clr_hpc.training.run import RunSettings


@dataclass(frozen=True)
class WorkerTask:
    """What every process that trains is given, whichever place started it."""

    pack_folder: Path
    """Already verified."""
    runs_folder: Path
    """Each run has its folder in it, named ``RunSpec.name``."""
    settings: RunSettings
    place: str = ""
    """Where a run is trained, for people; ``{number}`` is that of the process or lane. Empty: just these."""
    cancelled_folder: Path | None = None
    """A file with a run's name in it stops that run."""
