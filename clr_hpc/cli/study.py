"""The study that a command is about: from its file or its folder to what is in ``results/``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from clr_hpc.cli.start.studies import command_for_pack
from clr_hpc.store import layout

if TYPE_CHECKING:
    from clr_hpc.config.study import Study
    from clr_hpc.data.manifest import Manifest
    from clr_hpc.inference.study import TrainedStudy
    from clr_hpc.places.base import TrainingJob
    from clr_hpc.store.study_folder import StudyFolder

RESULTS = Path("results")


def find_folder(given: Path, results: Path | None, overrides: list[str] | None) -> "StudyFolder":
    """Return the folder of a study that was started, from its file, or from the folder itself.

    Where the file has other runs than the folder, a line on stderr says so.

    Raises:
        UserError: it is neither, or options were given that a folder doesn't need.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.config.load import load_study
    from clr_hpc.store.study_folder import StudyFolder

    if given.is_dir():
        if not (given / layout.STUDY).exists():
            raise UserError(
                f"{given}: no study's folder, it has no {layout.STUDY}; name a study file or its folder"
            )
        if results is not None or overrides:
            option = "--results" if results is not None else "--set"
            raise UserError(f"{option} belongs to a study file, and {given} is a study's folder; leave it out")
        return StudyFolder(given)
    study = load_study(given, tuple(overrides or ()))
    if results is None and given.name == layout.STUDY and (given.parent / layout.PACK).exists():
        return StudyFolder(given.parent)
    folder = StudyFolder.of(results or RESULTS, study.name)
    note_change(given, folder, study)
    return folder


def load_trained(given: Path, results: Path | None, overrides: list[str] | None) -> "TrainedStudy":
    """Return the trained models of a study, from its file or its folder, or of a bundle.

    Raises:
        UserError: it is none of these, has no model, or options were given that it doesn't need.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.inference.study import load
    from clr_hpc.store.bundle import is_bundle

    if not is_bundle(given):
        return load(find_folder(given, results, overrides).path)
    if results is not None or overrides:
        option = "--results" if results is not None else "--set"
        raise UserError(f"{option} belongs to a study file, and {given} is a bundle; leave it out")
    return load(given)


def note_change(given: Path, folder: "StudyFolder", study: "Study", checksum: str | None = None) -> None:
    """Say on stderr what a study has that its folder doesn't, and the reverse."""
    from clr_hpc.cli.display.terminal import complain

    change = folder.change_to(study, checksum)
    if change is not None:
        complain(f"note: {given} is not what {folder.path} holds: {change}", "yellow")


def on_its_pack(study: "Study", file: Path) -> "tuple[Study, Manifest]":
    """Read the manifest of a study's pack, as ``clr_hpc.places.prepare.on_its_pack`` does.

    Args:
        study: whose pack it is.
        file: the study's own, or its name; its comment may say how the pack is made.

    Raises:
        UserError: it is not made, can't be read, or has no finding that can be trained.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.config.load import find_study
    from clr_hpc.places import prepare

    if not Path(study.pack).exists() and (made_by := command_for_pack(find_study(file), study.pack)):
        raise UserError(f"{study.pack}: the pack of {study.name} is not made yet; make it with: {made_by}")
    return prepare.on_its_pack(study)


def make_way(job: "TrainingJob") -> str | None:
    """Put the folder of another study aside, as ``--replace`` asks for; return what was done.

    Raises:
        UserError: runs of it are being trained or wait in a queue.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.monitoring.status import State, StudyStatus
    from clr_hpc.places.base import all_places

    folder = job.folder
    if not job.options.replace:
        return None
    change = folder.change_to(job.study, job.pack_checksum)
    if change is None or not change.lost:
        return None
    busy = [run.spec.name for run in StudyStatus(folder).read() if run.state == State.RUNNING]
    jobs = [status for place in all_places() if place.has_jobs(folder) and (status := place.status(folder))]
    busy += [f"job {each.job_id}" for status in jobs for each in status.jobs if each.is_active]
    if busy:
        raise UserError(
            f"--replace: {folder.path} is in use by {busy[0]}{f' and {len(busy) - 1} more' if busy[1:] else ''}; "
            f"wait for the end, or stop it: {command('cancel', folder.path)}"
        )
    aside = folder.free_name_aside()
    if job.options.dry_run:
        return f"would keep the study of the same name as {aside}"
    folder.path.rename(aside)
    return f"the study of the same name is kept as {aside}"


def command(name: str, folder: Path) -> str:
    """Return the command for a study's folder, which finds it whatever the study file says."""
    path = str(folder)
    return shlex.join(["clr-hpc", name, f"./{path}" if path.startswith("-") else path])
