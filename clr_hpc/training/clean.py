"""What is left of a run that is done once ``clr-hpc clean`` has been there: how it is freed, and how it is read.

The last checkpoint gets a new file without the optimizer's state. Killed at any moment, the run is done and its
weights can be read: ``result.json`` first says, in its ``weights_sha256``, which other bytes the checkpoint may
have, then the new file takes the old one's place. Snapshots are removed once ``result.json`` says so.
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from torch import Tensor

from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json
from clr_hpc.store.checkpoints import drop, write_checksum
from clr_hpc.store.results import DoneResult, check_result
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.checkpoint import DamagedCheckpointError, load_tensors, save_tensors
from clr_hpc.training.freeable import ALWAYS, Kind, files_of, last_checkpoint, optimizer_bytes


def load_last(folder: Path, result: DoneResult) -> dict[str, Tensor]:
    """Return the tensors of the last checkpoint of a run that is done; the optimizer's may have been freed.

    Raises:
        DamagedCheckpointError: it is missing, or has other bytes than its result says.
    """
    file = last_checkpoint(folder, result)
    if (cleaned := result.get("weights_sha256")) is not None:
        try:
            return load_tensors(file, cleaned)[0]
        except DamagedCheckpointError:
            if not optimizer_bytes(file):
                raise
            # the process that cleaned was killed just before the new file was in place
    return load_tensors(file, result.get("checkpoint_sha256"))[0]


def clean_run(folder: Path, kinds: Collection[Kind] = ALWAYS) -> None:
    """Free what the folder of a run has of these kinds, if the run is done.

    Raises:
        RunInUseError: another process has the run.
        DamagedCheckpointError: the last checkpoint is not the one that was written; it is left as it is.
        OSError: the disk doesn't take it.
    """
    with RunFolder(folder).hold("clr-hpc clean") as held:
        result = check_result(folder, verify=False)
        if not isinstance(result, dict) or result["status"] != "done":
            return
        files = files_of(folder, result)
        for kind in (Kind.OLDER_CHECKPOINTS, Kind.UNUSED_SNAPSHOTS):
            if kind in kinds:
                drop(files.get(kind, ()))
        if Kind.TEMPORARY_FILES in kinds:
            for file in files[Kind.TEMPORARY_FILES]:
                file.unlink(missing_ok=True)
        if Kind.SNAPSHOTS in kinds and files.get(Kind.SNAPSHOTS):
            _change_result(folder, snapshots_freed=True)
            drop(files[Kind.SNAPSHOTS])
        if Kind.OPTIMIZER_STATE in kinds:
            _free_optimizer_state(held, result)


def _free_optimizer_state(held: RunFolder, result: DoneResult) -> None:
    file, written = last_checkpoint(held.path, result), result.get("checkpoint_sha256")
    if written is None or not optimizer_bytes(file):
        return

    def announce(checksum: str) -> None:
        held.confirm_lease()
        _change_result(held.path, weights_sha256=checksum)
        write_checksum(file, checksum)

    tensors, metadata = load_tensors(file, written)
    kept = {name: tensor for name, tensor in tensors.items() if not name.startswith("optimizer.")}
    save_tensors(file, kept, metadata, announce)


def _change_result(folder: Path, **changes: Any) -> None:
    """Write keys into a result, and all others as they stand there."""
    file = folder / layout.RESULT
    write_json(file, json.loads(file.read_bytes()) | changes)
