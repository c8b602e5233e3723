"""What is left of a run that is done: how the rest is freed, and how it is read.

The last checkpoint gets a new file without the optimizer's state. Killed at any moment, the run is done and its
weights can be read: ``result.json`` first says, in its ``weights_sha256``, which other bytes the checkpoint may
have, then the new file takes the old one's place. Weights are removed once ``result.json`` says so.
"""

import json
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Any

from torch import Tensor

from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json
from clr_hpc.store.checkpoints import drop, write_checksum
from clr_hpc.store.results import DoneResult, check_result, freed_weights
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.checkpoint import DamagedCheckpointError, load_tensors, save_tensors
from clr_hpc.training.upkeep.freeable import FILES, KEYS, Kind, files_of, last_checkpoint, optimizer_bytes


def load_last(folder: Path, result: DoneResult) -> dict[str, Tensor]:
    """Return the tensors of the last checkpoint of a run that is done; the optimizer's may have been freed.

    Raises:
        DamagedCheckpointError: it is missing, or has other bytes than its result says.
    """
    file = last_checkpoint(folder, result)
    if "last" in freed_weights(result):
        raise DamagedCheckpointError(f"{folder}: its last weights were freed, as the study's keep: says")
    if (cleaned := result.get("weights_sha256")) is not None:
        # the process that cleaned was killed just before the new file was in place, or comes to that just now
        for expected in (cleaned, result.get("checkpoint_sha256")):
            with suppress(DamagedCheckpointError):
                return load_tensors(file, expected)[0]
        return load_tensors(file, cleaned)[0]
    return load_tensors(file, result.get("checkpoint_sha256"))[0]


def clean_run(folder: Path, kinds: Collection[Kind]) -> None:
    """Free what the folder of a run has of these kinds, if the run is done.

    Raises:
        RunInUseError: another process has the run.
        DamagedCheckpointError: the last checkpoint is not the one that was written; it is left as it is.
        OSError: the disk doesn't take it.
    """
    with RunFolder(folder).hold("clr-hpc clean") as held:
        clean_held(held, kinds)


def clean_held(held: RunFolder, kinds: Collection[Kind]) -> None:
    """Do what ``clean_run`` does, in a folder that this process holds."""
    folder = held.path
    result = check_result(folder, verify=False)
    if not isinstance(result, dict) or result["status"] != "done":
        return
    files = files_of(folder, result)
    if Kind.TEMPORARY_FILES in kinds:
        for file in files[Kind.TEMPORARY_FILES]:
            file.unlink(missing_ok=True)
    models = [kind for kind in FILES if kind in kinds and files.get(kind)]
    freed = freed_weights(result)
    if new := {KEYS[kind] for kind in models} - freed:
        held.confirm_lease()
        _change_result(folder, weights_freed=sorted(freed | new))
    for kind in (Kind.OLDER_CHECKPOINTS, Kind.UNUSED_SNAPSHOTS, *models):
        if kind in kinds:
            drop(files.get(kind, ()))
    if Kind.OPTIMIZER_STATE in kinds and Kind.LAST not in kinds:
        _free_optimizer_state(held, result)


def _free_optimizer_state(held: RunFolder, result: DoneResult) -> None:
    file, written = last_checkpoint(held.path, result), result.get("checkpoint_sha256")
    if written is None or not optimizer_bytes(file):
        return

    def announce(checksum: str) -> None:
        held.confirm_lease()
        _change_result(held.path, weights_sha256=checksum)

    drop_optimizer_state(file, written, announce)


def drop_optimizer_state(file: Path, written: str, announce: Callable[[str], object]) -> None:
    """Write a checkpoint anew without the optimizer's state.

    Args:
        file: the checkpoint.
        written: its SHA-256.
        announce: called with the new file's SHA-256 just before that takes the old one's place.

    Raises:
        DamagedCheckpointError: it is not the one that was written; it is left as it is.
        OSError: the disk doesn't take it.
    """

    def announce_both(checksum: str) -> None:
        announce(checksum)
        write_checksum(file, checksum)

    tensors, metadata = load_tensors(file, written)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
    save_tensors(file, kept, metadata, announce_both)


def _change_result(folder: Path, **changes: Any) -> None:
    """Write keys into a result, and all others as they stand there."""
    file = folder / layout.RESULT
    write_json(file, json.loads(file.read_bytes()) | changes)
