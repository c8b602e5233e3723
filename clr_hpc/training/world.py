"""The processes that train one run together."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class World:
    """This process among those that train a run together."""

    rank: int
    size: int
    device: torch.device

    @classmethod
    def alone(cls, device: torch.device) -> "World":
        """Return the world of one process."""
        return cls(0, 1, device)
