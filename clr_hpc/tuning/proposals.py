"""What to try next, whatever search is asked: never the same twice."""

from collections.abc import Sequence

from clr_hpc.config.tuned_study import Values
from clr_hpc.tuning.dimensions import Dimensions
from clr_hpc.tuning.random_search import RandomSearch
from clr_hpc.tuning.search import Search, Told

ATTEMPTS = 3
"""Of the search, to name something new: equal settings and seeds train to the same bytes."""
DRAWS = 200
"""By chance, after that; where these are all known too, the space counts as used up."""


class Proposals:
    """Asks a search, and where it repeats itself draws by chance."""

    def __init__(self, search: Search, dimensions: Dimensions, seed: int) -> None:
        """Ask this search over these dimensions."""
        self._search, self._by_chance = search, RandomSearch(dimensions, seed)

    def next(self, trials: Sequence[Told]) -> Values | None:
        """Return settings that none of the trials has; None where the space is used up."""
        tried = [trial.values for trial in trials]
        for attempt in range(ATTEMPTS + DRAWS):
            asked = self._search if attempt < ATTEMPTS else self._by_chance
            values = asked.ask(trials, attempt)
            if values is None:
                return None
            if values not in tried:
                return values
        return None
