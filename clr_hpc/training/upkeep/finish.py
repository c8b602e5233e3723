"""The end of a run that is done: its result is written, and what its study doesn't keep is freed."""

import logging
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from clr_hpc.config.load import StudyError
from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.run_folder import LeaseLostError, RunFolder, RunInUseError
from clr_hpc.store.study_folder import NothingThereError, StudyFolder
from clr_hpc.training.checkpoint import Checkpoints, DamagedCheckpointError
from clr_hpc.training.upkeep.clean import clean_held, clean_run, drop_optimizer_state
from clr_hpc.training.upkeep.freeable import Kind, Upkeep

log = logging.getLogger(__name__)


def finish(folder: RunFolder, spec: RunSpec, result: dict[str, Any], frees: bool) -> None:
    """Write the result of a run that is done, and free what its study doesn't keep, of other runs too.

    Args:
        folder: of the run, held by this process.
        spec: of the run.
        result: of the run.
        frees: whether anything is freed but older checkpoints.

    Raises:
        LeaseLostError: another machine has taken the run over.
        OSError: the disk doesn't take the result.
    """
    upkeep = _upkeep_of(folder.path.parent.parent) if frees and spec.stage != "range_test" else None
    checkpoints = Checkpoints(folder.path / layout.CHECKPOINTS)
    freed = upkeep.freed(spec) if upkeep is not None else frozenset()
    if not (Kind.OPTIMIZER_STATE in freed and _finish_without_state(folder, checkpoints, result)):
        folder.finish(result)
    checkpoints.keep_alone(result["samples"])
    if upkeep is not None:
        _free(folder, spec, upkeep)


def _finish_without_state(folder: RunFolder, checkpoints: Checkpoints, result: dict[str, Any]) -> bool:
    """Write a result that names the smaller checkpoint from the start, since other runs may read it at once.

    Returns:
        False where the checkpoint stays as it is and no result is written.
    """
    is_written = False

    def announce(checksum: str) -> None:
        nonlocal is_written
        folder.finish(result | {"weights_sha256": checksum})
        is_written = True

    try:
        drop_optimizer_state(checkpoints.path(result["samples"]), result["checkpoint_sha256"], announce)
    except (OSError, DamagedCheckpointError) as error:
        log.warning("%s: its optimizer state could not be freed: %s", folder.path, error)
    return is_written


def _free(held: RunFolder, spec: RunSpec, upkeep: Upkeep) -> None:
    """Free what is not kept of a run, of its baseline when nothing starts from it any more, of beaten settings."""
    others = {each.name: each for each in upkeep.beaten_with(spec) if each.name != spec.name}
    if spec.start is not None:
        others[spec.start.baseline.name] = spec.start.baseline
    try:
        clean_held(held, upkeep.freed(spec))
        for name, other in others.items():
            if upkeep.is_done(other) and not upkeep.awaited_from(other):
                with suppress(RunInUseError):  # whoever has it frees the same, or clr-hpc clean does
                    clean_run(held.path.with_name(name), upkeep.freed(other))
    except (OSError, DamagedCheckpointError, LeaseLostError) as error:
        log.warning("%s: not all that the study doesn't keep could be freed: %s", held.path, error)


def _upkeep_of(study_folder: Path) -> Upkeep | None:
    try:
        return _read_upkeep(study_folder, (study_folder / layout.STUDY).stat().st_mtime_ns)
    except (OSError, NothingThereError):
        return None  # runs of a search, or of nothing that has a folder
    except StudyError as error:
        log.warning("%s: nothing is freed: %s", study_folder, error)
        return None


@lru_cache(maxsize=1)
def _read_upkeep(study_folder: Path, _changed: int) -> Upkeep:
    folder = StudyFolder(study_folder)
    return Upkeep(folder, folder.started())
