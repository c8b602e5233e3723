"""Imports that processes which train need sooner or later; ``fresh_processes`` preloads this module."""

import timm  # noqa: F401
import torch._dynamo  # which an optimizer imports
import torch.utils.tensorboard  # noqa: F401

import clr_hpc.training.loop  # noqa: F401
