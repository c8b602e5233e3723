"""How large a model is, by building it."""

from clr_hpc.config.network import NetworkSize
from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import BinaryTask, OneClassTask
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.build import build_one_class


def built_size(task: BinaryTask | OneClassTask, architecture: str) -> NetworkSize:
    """Return the size of a task's model before it is fitted to images."""
    random = Initialisation()
    model = (
        build_backbone(architecture, 1, random, seed=0)
        if isinstance(task, BinaryTask)
        else build_one_class(task, architecture, random, seed=0)
    )
    return NetworkSize(
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        state_bytes=sum(value.numel() * value.element_size() for value in model.state_dict().values()),
    )
