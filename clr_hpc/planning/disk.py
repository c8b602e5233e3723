"""The disk that runs take, counted from the study and its pack alone: nothing is opened or trained."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clr_hpc.config.network import NetworkSize
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Keep
from clr_hpc.data.manifest import Counts
from clr_hpc.planning.workload import final_models, known_images, snapshots_kept

VALUE_BYTES = 4
"""Weights and the optimizer's state are float32, whatever the precision of training."""
PREDICTION_BYTES = 24
"""Of a row of predictions.parquet."""
EPOCH_BYTES = 30_000
"""Of metrics.jsonl and the events for TensorBoard, which have some 45 lines per epoch."""
RUN_BYTES = 30_000
"""Of spec, environment, layers and result, and of the images that TensorBoard shows."""


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """Bytes that runs take."""

    left: int
    """What they leave, all of them together."""
    under_way: int
    """What they take besides on the way: one run its checkpoints and snapshots; with ``keep.settings: best`` also
    baselines until the last run that starts from them, and the settings of one task until the best is known."""


def disk_need(
    runs: Iterable[RunSpec], counts: Counts, size: Callable[[RunSpec], NetworkSize], keep: Keep
) -> DiskNeed:
    """Return what runs on a pack that holds ``counts`` take.

    ``size`` is that of a run's network. Features that a one-class method keeps, traces of profiles, reports and
    searches are not counted.
    """
    records, weights, under_way = 0, 0, 0
    of_settings: dict[str, Counter[str]] = {}
    baselines: dict[str, int] = {}
    for spec in runs:
        of_network = size(spec)
        records += _records(spec, counts)
        if spec.stage == "range_test":
            continue
        kept = _weights(spec, of_network, keep)
        weights += kept
        under_way = max(under_way, _while_trained(spec, of_network) - kept)
        if keep.settings == "best":
            of_settings.setdefault(spec.task.name, Counter())[spec.setting] += kept
            if spec.start is not None:
                baselines[spec.start.baseline.name] = of_network.state_bytes
    if keep.settings == "best":
        weights = sum(max(of_task.values()) for of_task in of_settings.values())
        of_one_task = max((of_task.total() for of_task in of_settings.values()), default=0)
        under_way += sum(baselines.values()) + of_one_task
    return DiskNeed(records + weights, under_way)


def _records(spec: RunSpec, counts: Counts) -> int:
    small = RUN_BYTES + EPOCH_BYTES * spec.training.epochs
    if spec.stage == "range_test":
        return small
    scored = sum(known_images(spec, counts, split) for split in ("validation", "test"))
    return PREDICTION_BYTES * scored * final_models(spec) + small


def _weights(spec: RunSpec, size: NetworkSize, keep: Keep) -> int:
    """Return the bytes of weights that a run of a kept setting leaves."""
    snapshots = snapshots_kept(spec) if snapshots_kept(spec) >= 2 else 0  # one alone makes no model
    files = keep.last + keep.best * (not spec.is_fitted) + keep.swa * (snapshots > 0) + keep.snapshots * snapshots
    return files * size.state_bytes + keep.optimizer_state * _state_bytes(spec, size)


def _while_trained(spec: RunSpec, size: NetworkSize) -> int:
    """Return the bytes of a run's weights just before its end: two checkpoints, one of which is being written."""
    files = 2 + (not spec.is_fitted) + snapshots_kept(spec) + (snapshots_kept(spec) >= 2)
    return files * size.state_bytes + 2 * _state_bytes(spec, size)


def _state_bytes(spec: RunSpec, size: NetworkSize) -> int:
    return 0 if spec.is_fitted else VALUE_BYTES * spec.optimizer.state_values() * size.parameters
