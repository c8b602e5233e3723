"""What simple rules come to that know only how a film was exposed: floors that a one-class method must beat.

Both know the training images' labels, which the method does not.
"""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
STATISTICS = 5
"""Mean, standard deviation, and the 5 %, 50 % and 95 % quantile of an image's grays."""


def statistics(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the global statistics ``(N, STATISTICS)`` of images ``(N, S, S)``."""
    flat = pixels.reshape(len(pixels), -1)
    quantiles = np.quantile(flat, (0.05, 0.5, 0.95), axis=1)
    return np.column_stack([flat.mean(axis=1), flat.std(axis=1), *quantiles])


def floor_scores(
    found: NDArray[np.float64], labels: NDArray[np.bool_], learned: NDArray[np.bool_]
) -> dict[str, Floats]:
    """Return two scores ``(N,)`` of images, of which a higher one is more anomalous.

    ``brightness`` is the mean gray, with the sign that suits the training images; ``statistics`` the log-odds of a
    logistic regression on all five. Empty where the training images are of one class.

    Args:
        found: ``(N, STATISTICS)``.
        labels: ``(N,)`` True for an image outside the class.
        learned: ``(N,)`` which are training images.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if not 0 < labels[learned].sum() < learned.sum():
        return {}
    brightness = found[:, 0]
    sign = 1 if roc_auc_score(labels[learned], brightness[learned]) >= 0.5 else -1
    regression = make_pipeline(StandardScaler(), LogisticRegression(class_weight="balanced"))
    regression.fit(found[learned], labels[learned])
    return {
        "brightness": (sign * brightness).astype(np.float32),
        "statistics": regression.decision_function(found).astype(np.float32),
    }
