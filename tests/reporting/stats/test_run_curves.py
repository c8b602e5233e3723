import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.run.curves import MOST_CORNERS, curves_of


@pytest.mark.parametrize("share", [0.02, 0.5, 0.98])
def test_few_points_are_as_near_along_a_rare_findings_curve_as_along_any(share: float) -> None:
    generator = np.random.default_rng(0)
    labels = generator.random(20_000) < share
    scores = 1 / (1 + np.exp(-(2 * labels + generator.normal(size=len(labels)))))
    images = np.arange(len(labels), dtype=np.int32)
    curves = curves_of(Scores(images, images, labels, scores), 1.0)
    assert set(curves) == {"roc", "precision_recall", "calibration"}
    false_positives, sensitivity, _ = roc_curve(labels, scores)
    precision, recall, _ = precision_recall_curve(labels, scores)
    for name, exact in (("roc", (false_positives, sensitivity)), ("precision_recall", (recall, precision))):
        points = curves[name]
        assert points.shape[1] <= MOST_CORNERS + 2
        assert points[:, 0] == pytest.approx([exact[0][0], exact[1][0]])
        assert points[:, -1] == pytest.approx([exact[0][-1], exact[1][-1]])
    drawn = np.interp(false_positives, *curves["roc"])
    assert np.abs(drawn - np.interp(false_positives, false_positives, sensitivity)).max() < 0.02
    assert np.abs(np.diff(curves["precision_recall"][0])).max() < 1 / 60
    assert curves["precision_recall"][1, 0] == pytest.approx(labels.mean()), "what the dotted line shows"
