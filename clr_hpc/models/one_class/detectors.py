"""Detectors on one row of features per image: scikit-learn's, PyOD's, and a distance from the mean."""

from importlib import import_module
from inspect import signature
from pkgutil import iter_modules
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_hpc.config.base import UserError, unknown
from clr_hpc.config.plugins import require
from clr_hpc.config.task import (
    EmbeddingMethod,
    IsolationForest,
    Mahalanobis,
    NearestNeighbours,
    OneClassSvm,
    PyodDetector,
)

Floats = NDArray[np.float32]
COMPONENTS = 64
"""Principal components that are kept, at most; of few images, a quarter of their number."""
LARGEST_KERNEL_FIT = 10_000
"""Images that a one-class SVM is fitted to, at most: its cost grows with their square."""


def check_method(method: EmbeddingMethod) -> None:
    """See that a method's detector is there and takes its arguments.

    Raises:
        MissingExtraError: PyOD is not installed.
        UserError: it has no such detector, or that takes no such argument.
    """
    if isinstance(method, PyodDetector):
        _of_pyod(method, 0)


def fit(method: EmbeddingMethod, features: Floats, images: int, seed: int) -> Any:
    """Fit to features ``(N, D)``: each to variance 1, then their principal components, again to variance 1.

    Args:
        method: which.
        features: of training images.
        images: of all of them, so that the detectors of a cross-fit measure distances in equally many dimensions.
        seed: of the trees, the images that a large fit is reduced to, and the components.

    Returns:
        A pipeline of scikit-learn, for ``score``.
    """
    from sklearn.decomposition import PCA
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    if isinstance(method, OneClassSvm) and len(features) > LARGEST_KERNEL_FIT:
        chosen = np.random.default_rng(seed).choice(len(features), LARGEST_KERNEL_FIT, replace=False)
        features = features[np.sort(chosen)]
    steps: list[Any] = [StandardScaler()]
    if not isinstance(method, Mahalanobis):  # whose shrunk covariance needs no fewer dimensions
        wanted = min(COMPONENTS, max(1, images // 4))
        components = min(wanted, len(features) - 1, features.shape[1])
        steps.append(PCA(components, whiten=True, svd_solver="randomized", random_state=seed))
    pipeline = make_pipeline(*steps, _estimator(method, len(features), seed))
    return pipeline.fit(features)


def score(pipeline: Any, features: Floats) -> Floats:
    """Return anomaly scores ``(B,)`` of features ``(B, D)``."""
    reduced, estimator = pipeline[:-1].transform(features), pipeline[-1]
    if hasattr(estimator, "kneighbors"):
        return np.asarray(estimator.kneighbors(reduced)[0].mean(axis=1), dtype=np.float32)
    if hasattr(estimator, "mahalanobis"):
        return np.asarray(np.sqrt(estimator.mahalanobis(reduced)), dtype=np.float32)
    if hasattr(estimator, "decision_scores_"):  # of PyOD, where higher is more anomalous
        return np.asarray(estimator.decision_function(reduced), dtype=np.float32)
    outlyingness: NDArray[np.float64] = -estimator.score_samples(reduced)
    if hasattr(estimator, "dual_coef_"):
        # the weights add up to nu · N; a mean kernel value can be compared between fits to more and fewer images
        outlyingness /= estimator.dual_coef_.sum()
    return outlyingness.astype(np.float32)


def _estimator(method: EmbeddingMethod, images: int, seed: int) -> Any:
    from sklearn import covariance, ensemble, neighbors, svm

    match method:
        case OneClassSvm():
            return svm.OneClassSVM(nu=method.nu, gamma=method.gamma)
        case IsolationForest():
            return ensemble.IsolationForest(n_estimators=method.trees, random_state=seed)
        case NearestNeighbours():
            return neighbors.NearestNeighbors(n_neighbors=min(method.neighbours, images))
        case Mahalanobis():
            return covariance.LedoitWolf()
        case PyodDetector():
            return _of_pyod(method, seed)


def _of_pyod(method: PyodDetector, seed: int) -> Any:
    """Return a detector of PyOD, whose classes lie in modules that are called like them.

    Raises:
        MissingExtraError: PyOD is not installed.
        UserError: it has no such detector, or that takes no such argument.
    """
    require("pyod", "pyod", f"pyod/{method.detector}")
    models = import_module("pyod.models")
    modules = {each.name.replace("_", ""): each.name for each in iter_modules(models.__path__)}
    module = modules.get(method.detector.lower())
    found = None if module is None else getattr(import_module(f"pyod.models.{module}"), method.detector, None)
    if found is None:
        raise UserError(unknown("detector of PyOD", method.detector.upper(), [name.upper() for name in modules]))
    drawn = {"random_state": seed} if "random_state" in signature(found).parameters else {}
    try:
        return found(**{**drawn, **method.arguments})
    except (TypeError, ValueError) as error:
        raise UserError(f"pyod/{method.detector} with arguments {method.arguments}: {error}") from error
