"""Every random number of a run as a function of its seed and of the samples seen: a resume needs no state."""

from enum import IntEnum

import numpy as np
import torch


class Stream(IntEnum):
    """What the numbers are for; each purpose has a stream of its own."""

    ORDER = 1
    AUGMENTATION = 2
    DROPOUT = 3


def generator(seed: int, stream: Stream, position: int) -> np.random.Generator:
    """Return the generator of a stream at a position (an epoch, or samples seen)."""
    return np.random.default_rng([seed, stream, position])


def seed_dropout(seed: int, samples_seen: int) -> None:
    """Set torch's global generators, from which dropout draws and nothing else in this project does."""
    words = np.random.SeedSequence([seed, Stream.DROPOUT, samples_seen]).generate_state(2, np.uint32)
    torch.manual_seed(int(words[0]) << 32 | int(words[1]))
