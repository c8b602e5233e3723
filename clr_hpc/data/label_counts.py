"""How many images are positive, negative and unknown for each label."""

from collections import Counter
from collections.abc import Sequence

from clr_hpc.config.base import FrozenSpec
from clr_hpc.config.pathologies import NEGATIVE, NO_FINDING, PATHOLOGIES, POSITIVE, UNKNOWN


class LabelCounts(FrozenSpec):
    """Images by the value of one label."""

    positive: int = 0
    negative: int = 0
    unknown: int = 0


def count_labels(labels: Sequence[tuple[int, ...]]) -> dict[str, LabelCounts]:
    """Count the values of each pathology, and of ``no_finding``: positive where all 14 are negative."""
    columns = dict(zip(PATHOLOGIES, zip(*labels, strict=True), strict=True)) if labels else {}
    counts = {pathology: Counter(columns.get(pathology, ())) for pathology in PATHOLOGIES}
    counts[NO_FINDING] = Counter(no_finding(of_image) for of_image in labels)
    return {
        name: LabelCounts(positive=values[POSITIVE], negative=values[NEGATIVE], unknown=values[UNKNOWN])
        for name, values in counts.items()
    }


def no_finding(labels: tuple[int, ...]) -> int:
    """Return whether an image shows none of the 14 ``(14,)``: UNKNOWN where one is unknown and none positive."""
    if POSITIVE in labels:
        return NEGATIVE
    return UNKNOWN if UNKNOWN in labels else POSITIVE
