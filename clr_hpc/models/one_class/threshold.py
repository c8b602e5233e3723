"""From which score on an image is called anomalous."""

import math

import numpy as np
from numpy.typing import NDArray


def threshold(training_scores: NDArray[np.floating], quantile: float) -> float:
    """Return the score that an image of the one class reaches with probability ``1 - quantile`` or less.

    That is the float32 next above the ⌈quantile · (N + 1)⌉-th smallest of the N training scores: where a new
    image's score is exchangeable with them, it lies above that with a probability of at most ``1 - quantile``
    (Vovk et al. 2005; Angelopoulos & Bates 2021, arXiv:2107.07511, theorem 1). With too few scores for the
    quantile it is next above the largest.

    Args:
        training_scores: ``(N,)`` of images of the one class.
        quantile: strictly between 0 and 1.

    Raises:
        ValueError: there is no score, or the quantile is out of range.
    """
    count = len(training_scores)
    if count == 0:
        raise ValueError("a threshold needs the score of at least one training image")
    if not 0 < quantile < 1:
        raise ValueError(
            f"quantile={quantile:g} must be between 0 and 1; 0.95 calls about 5 % of the class anomalous"
        )
    # rounded, since 0.95 * 20 is a hair above 19 in floating point
    rank = min(count, math.ceil(round(quantile * (count + 1), 9)))
    last_normal = np.float32(np.partition(training_scores, rank - 1)[rank - 1])
    return float(np.nextafter(last_normal, np.float32(np.inf)))
