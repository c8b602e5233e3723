"""Site file: what jobs of all studies need on one SLURM cluster."""

import shlex
import sys
from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, ValidationError, field_validator

from clr_hpc.config.base import FrozenSpec, UserError, explain
from clr_hpc.config.given_file import FileError
from clr_hpc.config.yaml_file import read_yaml

DEFAULT_SITE_FILE = Path("~/.config/clr-hpc/site.yaml")


class SiteError(UserError):
    """A site file can't be used; the message names the file, each place in it, the rule and the remedy."""


class Site(FrozenSpec):
    """What jobs of all studies need on one SLURM cluster."""

    partition: str | None = None
    """Partition that jobs are submitted to; None: the cluster's default."""
    account: str | None = None
    """Account that is charged; None: the cluster's default."""
    qos: str | None = None
    """Quality of service; None: the cluster's default."""
    constraint: str | None = None
    """Features that nodes must have, such as ``a100``; None: any nodes."""
    gpus: NonNegativeInt = 0
    """GPUs of one array task, all on one node, or of each node of an allocation."""
    cpus: PositiveInt
    """CPU cores of one array task, all on one node, or of each node of an allocation."""
    memory_gb: PositiveFloat | None = None
    """Memory, in GB, of one array task, or of each node of an allocation; None: the cluster's default."""
    nodes: PositiveInt | None = None
    """Most nodes of an allocation; None: as many as ``--nodes`` asks for."""
    time_limit_minutes: PositiveInt
    """Time limit of one start of a job; a job that advances is queued again as often as it takes."""
    signal_seconds: int = Field(default=90, ge=15)
    """Seconds before the time limit at which a job is signalled to save and requeue."""
    runs_at_once: PositiveInt | None = None
    """Runs trained side by side in one array task; None: one per GPU, or per CPU."""
    parallel: PositiveInt | None = None
    """Array tasks of a study without ``--parallel``; None: one for each baseline and what follows it."""
    shared_folder: Path
    """Folder on a disk that all nodes see; results must lie in it."""
    setup: tuple[str, ...] = ()
    """Lines of shell before Python starts."""
    container: str | None = None
    """What runs a command inside a container: ``apptainer exec --nv image.sif``."""
    python: str | None = None
    """The Python that has clr_hpc; None: the one that submits, or ``python`` of the container."""
    baseline_wait_seconds: NonNegativeInt = 600
    """Seconds that an array task waits for another one's baseline before it releases its node."""
    extra: dict[str, str | int | bool] = Field(default_factory=dict)
    """Further options of sbatch: ``reservation: course``."""

    @field_validator("shared_folder")
    @classmethod
    def _is_there(cls, folder: Path) -> Path:
        expanded = folder.expanduser()
        if not expanded.is_absolute() or not expanded.is_dir():
            raise ValueError(
                f"{folder} must be the absolute path of a folder that is there; make it, or correct it"
            )
        return expanded

    @property
    def command(self) -> str:
        """Shell words that start Python on a node."""
        if self.container is None:
            return shlex.quote(self.python or sys.executable)
        return f"{self.container} {shlex.quote(self.python or 'python')}"

    @property
    def processes(self) -> int:
        """Runs trained side by side in one array task."""
        return self.runs_at_once or self.gpus or self.cpus

    @property
    def threads(self) -> int:
        """CPU threads of each."""
        return max(1, self.cpus // self.processes)


def load_site(path: Path | None) -> Site:
    """Read a site file; None: the user's own at ``~/.config/clr-hpc/site.yaml``.

    Raises:
        SiteError: it isn't there or can't be used.
    """
    file = (path or DEFAULT_SITE_FILE).expanduser()
    try:
        values = read_yaml(file)
    except FileError as error:
        raise SiteError(
            f"{file}: {error.mistake.rule}; clr-hpc init writes one, to be moved there, or give --site FILE"
        ) from None
    except UserError as error:
        raise SiteError(f"{file}: {error}") from None
    if not isinstance(values, dict):
        raise SiteError(f"{file}: a site is a mapping of keys such as partition, cpus; clr-hpc init writes one")
    try:
        return Site.model_validate(values)
    except ValidationError as error:
        raise SiteError(f"{file}: {explain(error)}") from None
