"""From a one-class task to its model."""

from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import Autoencoder, DeepSvdd, OneClassTask, Padim, Patchcore
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.autoencoder import AutoencoderModel
from clr_hpc.models.one_class.base import OneClassModel
from clr_hpc.models.one_class.deep_svdd import DeepSvddModel
from clr_hpc.models.one_class.detectors import check_method
from clr_hpc.models.one_class.embedding import EmbeddingDetector
from clr_hpc.models.one_class.padim import PadimModel
from clr_hpc.models.one_class.patchcore import PatchcoreModel


def build_one_class(
    task: OneClassTask, architecture: str, initialisation: Initialisation, seed: int
) -> OneClassModel:
    """Build a task's model before ``prepare``.

    Args:
        task: which class and method.
        architecture: of the backbone; an autoencoder has a network of its own and ignores it.
        initialisation: of the backbone.
        seed: of all that is drawn.

    Raises:
        InitialisationError: ImageNet weights can't be loaded.
        NoFeatureMapError: the network has no feature map of a stride that the method asks for.
        UserError: a package lacks the detector that the method names.
    """
    match task.method:
        case DeepSvdd() as method:
            backbone = build_backbone(architecture, method.outputs, initialisation, seed)
            return DeepSvddModel(backbone, method, seed)
        case Autoencoder() as method:
            return AutoencoderModel(method, seed)
        case method:
            backbone = build_backbone(architecture, 1, initialisation, seed)
            is_trained = initialisation.weights != "random"
            match method:
                case Padim():
                    return PadimModel(backbone, method, seed, is_trained)
                case Patchcore():
                    return PatchcoreModel(backbone, method, seed, is_trained)
                case _:
                    check_method(method)
                    return EmbeddingDetector(backbone, method, seed, is_trained)
