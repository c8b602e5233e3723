"""One patient's chest as numbers. A patient keeps these for life; a finding may reshape them."""

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from clr_hpc.data.sources.phantom.canvas import Field, V

Side = Literal[-1, 1]
"""The side of the image; the patient's right lung lies on the image's left."""
RIGHT: Side = -1
LEFT: Side = 1
SIDES: tuple[Side, Side] = (RIGHT, LEFT)


@dataclass(frozen=True, slots=True)
class Anatomy:
    """Lengths in canvas units, of about 20 cm."""

    thorax_half_width: float
    apex: float
    """Height (v) of the lungs' tops."""
    dome: tuple[float, float]
    """Height (v) of the right and the left half of the diaphragm."""
    sulcus_depth: float
    """How far the costophrenic angle lies below the dome."""
    cardiothoracic_ratio: float
    magnification: float
    """Magnification of the heart, relative to a PA film."""
    heart_slope: float
    aortic_knob: float
    mediastinum_half_width: float
    midline_shift: float
    """How far heart and trachea are displaced, to the image's right if positive."""
    rib_spacing: float
    rib_phase: float
    rib_strength: float
    clavicle: float
    """Height (v) of the clavicles' inner ends."""
    scapula: float
    """How far the shoulder blades lie over the lungs: 0 on a well-positioned PA film."""
    breast: float
    """Strength of the breast shadows, 0 for none."""
    stoutness: float
    gastric_bubble: float
    vessel_strength: float

    def dome_of(self, side: Side) -> float:
        """Return the height of one half of the diaphragm."""
        return self.dome[0 if side == RIGHT else 1]

    def raise_dome(self, side: Side, by: float) -> "Anatomy":
        """Return the chest with one half of the diaphragm higher (lower where ``by`` is negative)."""
        right, left = self.dome
        return replace(self, dome=(right - by, left) if side == RIGHT else (right, left - by))

    def rise(self) -> Field:
        """Return 0 at the widest level of the thorax and 1 at the apex of the lungs, ``(H, 1)``."""
        widest = 0.35
        level: Field = np.clip((widest - V) / (widest - self.apex), 0, 1)
        return level

    def lateral_wall(self) -> Field:
        """Return the distance from the midline to the inner chest wall for each row, ``(H, 1)``."""
        at_apex = 0.30
        fullness: Field = np.clip(1 - self.rise() ** 2.4, 0, 1) ** 0.5
        return at_apex + (self.thorax_half_width - at_apex) * fullness

    def mediastinal_border(self, side: Side) -> Field:
        """Return the distance from the midline to the edge of heart and vessels on one side, ``(H, 1)``."""
        heart_width = 2 * self.thorax_half_width * self.cardiothoracic_ratio
        floor = min(self.dome) + 0.06
        if side == RIGHT:
            reach, widest, up, down = 0.34 * heart_width, floor - 0.16, 0.30, 0.34
        else:
            reach, widest, up, down = 0.66 * heart_width, floor - 0.09, 0.46, 0.20
        above_widest = np.sin(np.pi / 2 * np.clip(1 + (V - widest) / up, 0, 1)) ** self.heart_slope
        below_widest = np.sqrt(np.clip(1 - ((V - widest) / down) ** 2, 0, 1))
        bulge: Field = np.where(widest > V, above_widest, below_widest)
        border = self.mediastinum_half_width + (reach - self.mediastinum_half_width) * bulge
        if side == LEFT:
            knob = np.sqrt(np.clip(1 - ((V + 0.36) / 0.10) ** 2, 0, 1))
            trunk = np.sqrt(np.clip(1 - ((V + 0.17) / 0.12) ** 2, 0, 1))
            vessels = np.maximum(self.aortic_knob * knob, 0.6 * self.aortic_knob * trunk)
            border = np.maximum(border, self.mediastinum_half_width + vessels)
        spread = (0.32 - self.mediastinum_half_width) * self.rise() ** 7
        return border + spread


def draw_anatomy(rng: np.random.Generator, sex: str, age_years: float) -> Anatomy:
    """Draw a healthy chest as a deep breath on a PA film shows it."""
    dome = rng.normal(0.33, 0.04)
    return Anatomy(
        thorax_half_width=float(np.clip(rng.normal(0.72 if sex == "M" else 0.69, 0.03), 0.62, 0.8)),
        apex=float(rng.normal(-0.74, 0.025)),
        dome=(float(dome), float(dome + rng.normal(0.045, 0.025))),
        sulcus_depth=float(rng.uniform(0.15, 0.26)),
        cardiothoracic_ratio=float(np.clip(rng.normal(0.445, 0.032), 0.36, 0.495)),
        magnification=1.0,
        heart_slope=float(rng.uniform(1.0, 1.7)),
        aortic_knob=float(rng.uniform(0.03, 0.06) + 0.0004 * age_years),
        mediastinum_half_width=float(rng.uniform(0.115, 0.15)),
        midline_shift=float(rng.normal(0, 0.012)),
        rib_spacing=float(rng.uniform(0.125, 0.145)),
        rib_phase=float(rng.uniform(0, 1)),
        rib_strength=float(rng.uniform(0.7, 1.2)),
        clavicle=float(rng.normal(-0.56, 0.03)),
        scapula=0.0,
        breast=float(rng.uniform(0.4, 1.0)) if sex == "F" else 0.0,
        stoutness=float(rng.uniform(0.0, 1.0)),
        gastric_bubble=float(rng.choice([0.0, 1.0], p=[0.35, 0.65]) * rng.uniform(0.6, 1.2)),
        vessel_strength=float(rng.uniform(0.8, 1.15)),
    )


def pose(anatomy: Anatomy, view: str, rng: np.random.Generator) -> Anatomy:
    """Return the chest as one exposure meets it.

    Breaths differ. On an AP film the heart lies further from the detector and is magnified, the breath is
    shallower and the shoulder blades are not turned out of the lungs.
    """
    breath = rng.normal(0.0, 0.035)
    turned = rng.normal(0.0, 0.016)
    is_ap = view == "AP"
    magnification = 1.10 if is_ap else 1.0
    right, left = anatomy.dome
    lift = breath + (0.07 if is_ap else 0.0)
    return replace(
        anatomy,
        dome=(right - lift, left - lift),
        cardiothoracic_ratio=anatomy.cardiothoracic_ratio * magnification,
        magnification=magnification,
        mediastinum_half_width=anatomy.mediastinum_half_width * (1.12 if is_ap else 1.0),
        midline_shift=anatomy.midline_shift + turned,
        clavicle=anatomy.clavicle - (0.05 if is_ap else 0.0),
        scapula=float(rng.uniform(0.6, 1.0)) if is_ap else float(rng.uniform(0.0, 0.15)),
    )
