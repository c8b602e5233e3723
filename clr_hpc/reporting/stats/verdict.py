"""The one rule for verdicts: better, worse, equivalent or undecided (docs/explanation/statistics.md)."""

from collections.abc import Callable, Sequence
from typing import Literal

from clr_hpc.reporting.stats.bootstrap import LEVEL
from clr_hpc.reporting.stats.difference import Difference
from clr_hpc.reporting.stats.significance import holm

Verdict = Literal["better", "worse", "equivalent", "undecided"]
SIGNIFICANCE = 1 - LEVEL


def verdicts(differences: Sequence[Difference], margin: float) -> list[Verdict]:
    """Return the verdict on each of a study's policies, so that with 95 % none of them is wrong.

    *Equivalent*: a difference of ``margin`` or more is excluded. Else *better* or *worse*: a difference of zero
    is excluded. Else *undecided*, as it always is with one seed. Both p-values are adjusted for the number of
    policies (Holm).
    """
    different = holm([each.p_value for each in differences])
    equivalent = holm([each.equivalence_p_value(margin) for each in differences])
    return [
        _verdict(each.value, p_different, p_equivalent)
        for each, p_different, p_equivalent in zip(differences, different, equivalent, strict=True)
    ]


def pairwise_verdicts(
    names: Sequence[str], difference: Callable[[str, str], Difference], margin: float
) -> dict[tuple[str, str], Verdict]:
    """Return the verdict on each of ``names`` against every one before it.

    Whoever ranks policies on validation prefers lucky training runs, and the same runs are tested. So p-values are
    adjusted for all pairs: then no choice among the policies, however made, raises the error.

    Args:
        names: of the policies.
        difference: returns the first one's mean minus the second's.
        margin: as in ``verdicts``.
    """
    pairs = [(name, earlier) for place, name in enumerate(names) for earlier in names[:place]]
    found = verdicts([difference(*pair) for pair in pairs], margin)
    return dict(zip(pairs, found, strict=True))


def _verdict(value: float, p_different: float, p_equivalent: float) -> Verdict:
    if p_equivalent < SIGNIFICANCE:
        return "equivalent"
    if p_different < SIGNIFICANCE:
        return "better" if value > 0 else "worse"
    return "undecided"
