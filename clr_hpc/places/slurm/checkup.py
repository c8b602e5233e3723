"""What ``clr-hpc doctor`` finds of a SLURM cluster: its commands, what it does with jobs, and the site file."""

import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from clr_hpc.config.base import UserError, shortened
from clr_hpc.doctor.check import Check, Examination, failure, ok, warning
from clr_hpc.places.slurm.clocks import compare_clocks
from clr_hpc.places.slurm.commands import SlurmError, minutes_of, settings_of
from clr_hpc.places.slurm.request import check_request, cluster_nodes
from clr_hpc.places.slurm.site import DEFAULT_SITE_FILE, Site, load_site

NEEDED = ("sbatch", "squeue", "scontrol", "scancel")
"""Commands that submitting, watching, requeueing and cancelling take."""
USEFUL = {"sinfo": "nodes are not known before a job is submitted", "sacct": "ended jobs are soon forgotten"}
SUBJECT, SITE = "SLURM", "site file"
LEAST_GRACE_SECONDS = 15
"""Time in which a run gets to its next step and saves a checkpoint."""
TIMEOUT_SECONDS = 3.0
"""Of a question to the controller, so that the whole takes no longer than five."""


@dataclass(frozen=True)
class Checkup:
    """What is asked of a cluster."""

    site_file: Path | None
    """None: the user's own."""
    results: Path
    submits: bool
    """Whether a job may be submitted."""

    def examinations(self) -> Sequence[Examination]:
        """Return what there is to look at."""
        if not self._is_asked_for and not any(shutil.which(name) for name in NEEDED):
            return [lambda: [ok(SUBJECT, "not on this machine")]]
        return [self._cluster, self._clocks] if self.submits else [self._cluster]

    @property
    def _is_asked_for(self) -> bool:
        return self.site_file is not None or self.submits

    def _cluster(self) -> Iterator[Check]:
        serious = failure if self._is_asked_for else warning
        yield from _programs(serious)
        answers = True
        try:
            yield from _jobs_of_cluster()
        except SlurmError as error:
            answers = False
            yield serious(SUBJECT, shortened(str(error), 160), "is this a login node, and SLURM_CONF right?")
        yield from self._site(answers)

    def _site(self, answers: bool) -> Iterator[Check]:
        file = (self.site_file or DEFAULT_SITE_FILE).expanduser()
        if self.site_file is None and not file.exists():
            if answers:
                yield warning(
                    SITE, f"there is none at {DEFAULT_SITE_FILE}", "clr-hpc init writes one to begin with"
                )
                yield from _partitions(None)
            return
        try:
            site = load_site(self.site_file)
            check_request(site, must_answer=False)
        except UserError as error:
            yield failure(SITE, str(error), f"edit {file}")
            return
        if self.results.resolve().is_relative_to(site.shared_folder.resolve()):
            yield ok(
                SITE, f"{site.cpus} CPUs, {site.gpus} GPUs, {site.time_limit_minutes} minutes per job; {file}"
            )
        else:
            yield warning(
                SITE,
                f"results {self.results} are not in its shared_folder, {site.shared_folder}",
                f"train with --results {site.shared_folder / 'results'}",
            )
        yield from _partitions(site) if answers else ()

    def _clocks(self) -> Iterator[Check]:
        try:
            yield from compare_clocks(load_site(self.site_file))
        except UserError as error:
            yield failure("clocks", str(error), "submit any job by hand: what does sbatch say?")


def _programs(serious: Callable[[str, str, str], Check]) -> Iterator[Check]:
    if absent := [name for name in NEEDED if shutil.which(name) is None]:
        yield serious(SUBJECT, f"{', '.join(absent)} not installed here", "use a login node of the cluster")
    for name, loss in USEFUL.items():
        if shutil.which(name) is None:
            yield warning(SUBJECT, f"no {name}: {loss}", "use a login node of the cluster")
    if find_spec("submitit") is None:
        yield serious("submitit", "not installed: --on slurm needs it", "pip install 'clr-hpc[slurm]'")


def _jobs_of_cluster() -> Iterator[Check]:
    """Ask the controller how it ends jobs and starts them again.

    Raises:
        SlurmError: it does not answer.
    """
    config = settings_of("config", timeout=TIMEOUT_SECONDS)
    yield ok(
        SUBJECT, f"{config.get('SLURM_VERSION', 'SLURM')} of {config.get('ClusterName', 'a cluster')} answers"
    )
    if config.get("JobRequeue") == "0":
        yield warning(
            "requeue",
            "JobRequeue=0 at this site: a job whose node is lost may not start again",
            "give the same command again when jobs have ended; what was saved is kept",
        )
    else:
        yield ok("requeue", "jobs start again after their time limit and lost nodes")
    wait = re.match(r"\d+", config.get("KillWait", ""))
    if wait and int(wait[0]) < LEAST_GRACE_SECONDS:
        yield warning(
            "grace",
            f"KillWait={wait[0]} s from SIGTERM to SIGKILL may be too short for a checkpoint",
            "keep signal_seconds of the site file, which come before it, at 60 or more",
        )


def _partitions(site: Site | None) -> Iterator[Check]:
    """Look at the partitions that jobs would go to; without a site file at all."""
    try:
        for name in _names(site):
            yield _partition(name, settings_of("partition", name, timeout=TIMEOUT_SECONDS), site)
    except SlurmError as error:
        yield warning("partition", shortened(str(error), 160), "name one that is there in the site file")


def _names(site: Site | None) -> list[str]:
    if site is not None and site.partition is not None:
        return site.partition.split(",")
    return list(dict.fromkeys(node.partition for node in cluster_nodes() if node.is_default or site is None))


def _partition(name: str, settings: dict[str, str], site: Site | None) -> Check:
    limit, grace = settings.get("MaxTime", "UNLIMITED"), settings.get("GraceTime", "0")
    state, preemption = settings.get("State", "UP"), settings.get("PreemptMode", "OFF")
    minutes = minutes_of(limit)
    if state != "UP":
        return failure("partition", f"{name}: its state is {state}", "name another one in the site file")
    if site is not None and minutes is not None and site.time_limit_minutes > minutes:
        text = f"{name}: time_limit_minutes={site.time_limit_minutes} is above its MaxTime={limit}"
        return failure("partition", text, f"set time_limit_minutes: {minutes}")
    if preemption not in ("OFF", "SUSPEND") and grace.isdigit() and int(grace) < LEAST_GRACE_SECONDS:
        text = f"{name}: jobs are preempted within GraceTime={grace} s, too soon for a checkpoint"
        return warning("partition", text, "train with --checkpoint-seconds 60, so that little is lost")
    return ok("partition", f"{name}: time limit {limit}, preemption {preemption}, grace {grace} s")
