"""What processes that train import at one time or another, imported for its effect alone (``fresh_processes``)."""

import timm  # noqa: F401
import torch._dynamo  # which an optimizer imports
import torch.utils.tensorboard  # noqa: F401

import clr_hpc.training.loop  # noqa: F401
