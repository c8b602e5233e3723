"""Settings drawn by chance (Bergstra & Bengio 2012, JMLR 13, 281-305)."""

from collections.abc import Sequence

import numpy as np

from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.dimensions import Dimensions
from clr_hpc.tuning.search import Told, seed_of_answer


class RandomSearch:
    """Draws each setting independently and uniformly, an interval with a logarithmic scale in its logarithm."""

    def __init__(self, dimensions: Dimensions, seed: int) -> None:
        """Draw from the dimensions."""
        self._dimensions, self._seed = dimensions, seed

    def ask(self, trials: Sequence[Told], attempt: int) -> Values:
        """Draw settings; what came of the trials doesn't matter, only how many there are."""
        random = np.random.default_rng(seed_of_answer(self._seed, len(trials), attempt))
        return {name: dimension.draw(random) for name, dimension in self._dimensions.items()}
