"""From any task to its model."""

from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import BinaryTask, PretrainingTask, Task
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.build import build_one_class
from clr_hpc.models.pretraining import SimSiam
from clr_hpc.models.task_model import BinaryClassifier, TaskModel


def build_model(
    task: Task, architecture: str, initialisation: Initialisation, seed: int, positive_weight: float = 1.0
) -> TaskModel:
    """Build the model that a task is learned by.

    Args:
        task: which.
        architecture: of the network; a method with a network of its own ignores it.
        initialisation: of the network.
        seed: of all that is drawn.
        positive_weight: of a classifier: what a positive image's loss is multiplied by.

    Raises:
        InitialisationError: ImageNet weights can't be loaded.
        NoFeatureMapError: the network has no feature map of a stride that the method asks for.
        UserError: a package lacks the detector that the method names.
    """
    match task:
        case BinaryTask():
            return BinaryClassifier(build_backbone(architecture, 1, initialisation, seed), positive_weight)
        case PretrainingTask():
            return SimSiam(build_backbone(architecture, 1, initialisation, seed), seed)
        case _:
            return build_one_class(task, architecture, initialisation, seed)
