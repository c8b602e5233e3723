"""All combinations of a few values of each setting."""

from collections.abc import Sequence
from itertools import product

from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.dimensions import Dimensions
from clr_hpc.tuning.search import Told


class Grid:
    """The points of a grid, the last setting changing fastest."""

    def __init__(self, dimensions: Dimensions, seed: int) -> None:  # noqa: ARG002  a grid leaves nothing to chance
        """Lay a grid over the dimensions."""
        combinations = product(*(dimension.grid() for dimension in dimensions.values()))
        self.points = [dict(zip(dimensions, point, strict=True)) for point in combinations]

    def ask(self, trials: Sequence[Told], attempt: int) -> Values | None:  # noqa: ARG002
        """Return the first point that has not been tried."""
        tried = [trial.values for trial in trials]
        return next((point for point in self.points if point not in tried), None)
