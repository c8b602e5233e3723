"""The disk that runs take, counted from the study and its pack alone: nothing is opened or trained."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from clr_hpc.config.network import NetworkSize
from clr_hpc.config.run import RunSpec
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
    """What one run takes besides, while it is trained: the checkpoint before the last, and one being written."""


def disk_need(runs: Iterable[RunSpec], counts: Counts, size: Callable[[RunSpec], NetworkSize]) -> DiskNeed:
    """Return what runs on a pack that holds ``counts`` take.

    ``size`` is that of a run's network. Features that a one-class method keeps, traces of profiles, reports and
    searches are not counted.
    """
    left, under_way = 0, 0
    for spec in runs:
        of_network = size(spec)
        checkpoint = _checkpoint_bytes(spec, of_network)
        left += _left(spec, counts, of_network, checkpoint)
        under_way = max(under_way, 2 * checkpoint)
    return DiskNeed(left, under_way)


def _left(spec: RunSpec, counts: Counts, size: NetworkSize, checkpoint: int) -> int:
    small = RUN_BYTES + EPOCH_BYTES * spec.training.epochs
    if spec.stage == "range_test":
        return small
    kept = snapshots_kept(spec)
    weights = kept + (kept >= 2) + (not spec.is_fitted)  # snapshots, their mean, and the best ones
    scored = sum(known_images(spec, counts, split) for split in ("validation", "test"))
    return checkpoint + weights * size.state_bytes + PREDICTION_BYTES * scored * final_models(spec) + small


def _checkpoint_bytes(spec: RunSpec, size: NetworkSize) -> int:
    kept = 0 if spec.is_fitted else spec.optimizer.state_values()
    return size.state_bytes + VALUE_BYTES * kept * size.parameters
