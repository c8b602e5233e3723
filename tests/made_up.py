"""Rates and works that are made up, for planning without training."""

from collections.abc import Sequence

from clr_hpc.config.resources import Resources
from clr_hpc.planning.throughput import Forecast, Throughput, ThroughputTable
from clr_hpc.planning.workload import Load, StepKind, WorkItem

KIND = StepKind("densenet121", 64, 64, "float32")


def item(name: str, seconds: float, after: str | None = None, network: str = "densenet121") -> WorkItem:
    """Return a run that takes so many seconds in a lane of one worker, whose rate is one image a second."""
    kind = StepKind(network, KIND.image_size, KIND.batch_size, KIND.precision)
    return WorkItem(name, Load(kind, 1, int(seconds), 0, 0), after, "retrain" if after else "baseline")


def table(networks: Sequence[str] = ("densenet121",), **changes: object) -> ThroughputTable:
    """Return rates of one image a second."""
    values = {"image_size": 64, "batch_size": 64, "images_per_second": 1.0, "evaluated_per_second": 1.0} | changes
    shares = (0.0, 1.0)  # on a CPU, on a GPU
    return ThroughputTable(
        rates=tuple(
            Throughput.model_validate(values | {"network": name, "gpus_per_worker": share})
            for name in networks
            for share in shares
        )
    )


def make_forecast(work: Sequence[WorkItem], gpus: int, most_workers: int = 1) -> Forecast:
    """Return the forecast of works on so many GPUs of one node."""
    resources = Resources(gpus=gpus, cpus=gpus)
    networks = sorted({each.load.kind.network for each in work})
    return Forecast(work, table(networks), resources, resources.shapes(most_workers))
