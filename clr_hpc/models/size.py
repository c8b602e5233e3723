"""How large a model is, by building it."""

from clr_hpc.config.network import NetworkSize
from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import Task
from clr_hpc.models.build import build_model


def built_size(task: Task, architecture: str) -> NetworkSize:
    """Return the size of a task's model before it is fitted to images."""
    model = build_model(task, architecture, Initialisation(), seed=0)
    return NetworkSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        state_bytes=sum(value.numel() * value.element_size() for value in model.state_dict().values()),
    )
