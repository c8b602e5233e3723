"""Whether runs that start from a baseline still find its weights, before anything is trained."""

from collections.abc import Iterable

from clr_hpc.config.base import UserError, counted
from clr_hpc.config.run import RunSpec, WarmStart
from clr_hpc.store.results import DoneResult, check_result, freed_weights
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.upkeep.freeable import last_checkpoint, optimizer_bytes

MOST_NAMED = 3


def check_starts(runs: Iterable[RunSpec], folder: StudyFolder) -> None:
    """See that what runs start from was not freed, as when a policy is added to a study that is done.

    Such a baseline isn't trained again unasked: on other hardware its weights may differ from those that earlier
    runs started from, and the report compares both.

    Args:
        runs: that are to be trained.
        folder: of their study.

    Raises:
        UserError: weights of a baseline that is done, or its optimizer's state, are gone.
    """
    without: dict[str, int] = {}
    for spec in runs:
        if spec.start is not None and _is_freed(spec.start, folder):
            without[spec.start.baseline.name] = without.get(spec.start.baseline.name, 0) + 1
    if not without:
        return
    named = ", ".join(str(folder.runs / name) for name in list(without)[:MOST_NAMED])
    if len(without) > MOST_NAMED:
        named += f" and {counted(len(without) - MOST_NAMED, 'other')}"
    whose = "a baseline" if len(without) == 1 else f"{len(without)} baselines"
    raise UserError(
        f"{counted(sum(without.values()), 'run')} would start from weights of {whose} that were freed to save "
        f"space, as the study's keep: says: {named}. Delete what is named, and it is trained again, or put these "
        "policies into a study of their own"
    )


def _is_freed(start: WarmStart, folder: StudyFolder) -> bool:
    path = folder.runs / start.baseline.name
    result = check_result(path, verify=False)
    if not isinstance(result, dict) or result["status"] != "done":
        return False
    if start.weights in freed_weights(result):
        return True
    return start.optimizer == "continued" and _has_no_state(result, folder, start)


def _has_no_state(result: DoneResult, folder: StudyFolder, start: WarmStart) -> bool:
    checkpoint = last_checkpoint(folder.runs / start.baseline.name, result)
    return "weights_sha256" in result and not optimizer_bytes(checkpoint)
