"""A tiny job on up to two nodes, which say what time it is there."""

import shlex
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from clr_hpc.config.base import UserError
from clr_hpc.doctor.check import Check, failure, ok, warning
from clr_hpc.places.slurm.commands import SlurmError, call
from clr_hpc.places.slurm.site import Site
from clr_hpc.store.lease import LeaseTiming

WAIT_SECONDS = 300.0
"""For the queue and the job."""
SUBJECT = "clocks"


def compare_clocks(site: Site) -> Iterator[Check]:
    """Submit a job whose nodes write their time to the shared folder, and compare all with the time of that disk.

    Raises:
        UserError: sbatch rejects the job, it has not ended in time, or what it wrote is not seen here.
    """
    with tempfile.TemporaryDirectory(prefix=".clr-hpc-doctor-", dir=site.shared_folder) as made:
        here = Path(made) / "this machine"
        here.write_text(f"{here.name} {time.time():f}")
        begun = time.monotonic()
        _submit(site, Path(made))
        seconds = time.monotonic() - begun
        ahead = dict(map(_ahead_of_disk, Path(made).iterdir()))
    if len(ahead) < 2:
        raise UserError(
            f"a job wrote to {made}, and this machine does not see it; name a shared disk in shared_folder"
        )
    yield _verdict(ahead, seconds)


def _submit(site: Site, folder: Path) -> None:
    told = 'echo "$(hostname)" "$(date +%s.%N)"'
    script = f"srun sh -c {shlex.quote(f'{told} > {shlex.quote(str(folder))}/$SLURM_PROCID')}"
    chosen = {name: getattr(site, name) for name in ("partition", "account", "qos", "constraint")}
    options = [f"--{name}={value}" for name, value in (chosen | site.extra).items() if value is not None]
    nodes = [
        "--nodes=1-2",
        "--ntasks=2",
        "--spread-job",
        "--time=1",
        "--output=/dev/null",
        f"--job-name={folder.name}",
    ]
    try:
        call(["sbatch", "--wait", *nodes, *options, f"--wrap={script}"], WAIT_SECONDS)
    except SlurmError:
        with suppress(SlurmError):
            call(["scancel", f"--name={folder.name}"])
        raise


def _ahead_of_disk(file: Path) -> tuple[str, float]:
    """Return who wrote a file, and by how many seconds its clock was ahead of the disk's."""
    node, _, told = file.read_text().rpartition(" ")
    return node, float(told) - file.stat().st_mtime


def _verdict(ahead: dict[str, float], seconds: float) -> Check:
    apart = max(ahead.values()) - min(ahead.values())
    timing = LeaseTiming()
    nodes = ", ".join(sorted(ahead.keys() - {"this machine"}))
    if apart < timing.renew_seconds:
        return ok(SUBJECT, f"{nodes} and this machine differ by {apart:.1f} s; the job took {seconds:.0f} s")
    told = ", ".join(f"{node} {offset:+.0f} s" for node, offset in sorted(ahead.items()))
    level = failure if apart > timing.skew_seconds else warning
    return level(SUBJECT, f"they differ, from the disk's: {told}", "have your cluster's people set them by NTP")
