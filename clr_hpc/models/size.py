"""How large a model is, by building it."""

from clr_hpc.config.network import NetworkSize
from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import BinaryTask, PretrainingTask, Task
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.build import build_one_class
from clr_hpc.models.pretraining import SimSiam


def built_size(task: Task, architecture: str) -> NetworkSize:
    """Return the size of a task's model before it is fitted to images."""
    random = Initialisation()
    match task:
        case BinaryTask():
            model = build_backbone(architecture, 1, random, seed=0)
        case PretrainingTask():
            model = SimSiam(build_backbone(architecture, 1, random, seed=0), seed=0)
        case _:
            model = build_one_class(task, architecture, random, seed=0)
    return NetworkSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        state_bytes=sum(value.numel() * value.element_size() for value in model.state_dict().values()),
    )
