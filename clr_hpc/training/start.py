"""The baseline that a run goes on from: found, checked, loaded."""

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from clr_hpc.config.run import Start
from clr_hpc.training.checkpoint import Checkpoints, DamagedCheckpointError, load_tensors


class BaselineError(Exception):
    """The baseline of a run is missing, failed or damaged; the message names it and says what to do."""


def baseline_result(start: Start, runs_folder: Path) -> dict[str, Any]:
    """Return the result of the baseline in the study's ``runs`` folder.

    Raises:
        BaselineError: it has none, or failed.
    """
    folder = runs_folder / start.baseline.name
    try:
        result: dict[str, Any] = json.loads((folder / "result.json").read_text())
    except FileNotFoundError:
        raise BaselineError(
            f"its baseline {folder} has no result; run the study again to train it first"
        ) from None
    if result["status"] != "done":
        raise BaselineError(f"its baseline {folder} failed: {result['reason']}; mend that and run the study again")
    return result


def baseline_tensors(start: Start, runs_folder: Path) -> dict[str, Tensor]:
    """Return the tensors that a run starts from: ``model.*``, and ``optimizer.*`` of the last checkpoint.

    Raises:
        BaselineError: the baseline has no result, failed, or the file is damaged or not that of its result.
    """
    result = baseline_result(start, runs_folder)
    folder = runs_folder / start.baseline.name
    path = folder / "best.safetensors"
    if start.weights == "last":
        path = Checkpoints(folder / "checkpoints").path(result["samples"])
    try:
        tensors, _ = load_tensors(path, result["checkpoint_sha256"] if start.weights == "last" else None)
    except DamagedCheckpointError as error:
        raise BaselineError(
            f"its baseline's weights can't be used: {error}; delete {folder} and run the study again to train it"
        ) from error
    return tensors
