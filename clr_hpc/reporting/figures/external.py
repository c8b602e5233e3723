"""Figures of an external validation: AUROC and calibration on both sides."""

from collections.abc import Iterator, Sequence
from functools import partial

import matplotlib as mpl
import numpy as np
from markupsafe import Markup

from clr_hpc.reporting.figures.curves import calibration_line, calibration_square
from clr_hpc.reporting.figures.select import Drawing
from clr_hpc.reporting.figures.svg import (
    MUTED,
    Dot,
    Styles,
    arm_styles,
    dots,
    drawing_style,
    to_svg,
)
from clr_hpc.reporting.read.evaluation import EvaluationRecord
from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.external import SettingResult
from clr_hpc.reporting.stats.run.curves import binned


def side_styles() -> Styles:
    """Return how the two sides are drawn."""
    return arm_styles({name: name for name in ("Internal", "External")})


def auroc_by_finding(results: Sequence[SettingResult]) -> Markup:
    """Draw a dot for each finding and side, with its interval; ``results`` have one setting a finding."""
    entries = [
        Dot(row.setting.task, name, auroc.value, auroc.interval, gap="not defined")
        for row in results
        for name, side in (("Internal", row.internal), ("External", row.external))
        if side is not None and (auroc := side.measures["auroc"])
    ]
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, side_styles())
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=":")
        axes.set_title("AUROC, 95 % CI over patients")
        axes.set_xlabel("AUROC (dotted: chance level)")
        return to_svg(figure, "external auroc", "AUROC by finding on both sides; numbers: results.csv")


def calibration_curves(
    evaluation: EvaluationRecord, numbered: Sequence[tuple[int, SettingResult]]
) -> Iterator[Drawing]:
    """Yield, for each setting with probabilities, the curves of both sides before and after calibration."""
    for number, row in numbered:
        pairs = (("Internal", evaluation.internal), ("External", evaluation.external))
        raw = {name: side.scores[number] for name, side in pairs if number in side.scores}
        calibrated = {name: side.calibrated[number] for name, side in pairs if number in side.calibrated}
        task = row.setting.task
        if len(raw) == 2 and len(calibrated) == 2:
            sides = {f"{task}: scores as they are": raw, f"{task}: calibrated": calibrated}
            yield Drawing(task, {"finding": task}, [partial(_curves, both, name) for name, both in sides.items()])


def _curves(sides: dict[str, Scores], title: str) -> Markup:
    styles = side_styles()
    with mpl.rc_context(drawing_style()):
        figure, axes = calibration_square()
        for name, scores in sides.items():
            points = np.array(binned(scores.labels, scores.scores), np.float32)
            calibration_line(axes, points, styles[name])
        axes.set_title(title)
        return to_svg(figure, f"calibration {title}", f"Calibration curves of both sides, {title}")
