"""The chest without findings: air in the lungs, tissue around it, bones over both.

A film's gray is the log of what the tissue absorbed, so shadows add. Findings of the lung take away air; where air
next to the heart is lost, the heart's edge goes with it (the silhouette sign) without anybody drawing that.
"""

import numpy as np

from clr_hpc.data.sources.phantom.anatomy import LEFT, RIGHT, SIDES, Anatomy, Side
from clr_hpc.data.sources.phantom.canvas import (
    Field,
    Strokes,
    U,
    V,
    above,
    blob,
    draw_strokes,
    ellipse,
    smooth_noise,
)

_AIR_CONTRAST = 0.62
_HEART_HIDES_AIR = 0.88
_VESSEL_CONTRAST = 0.42
_HILUM_U, _HILUM_V = 0.19, -0.10


class Chest:
    """A chest while it is drawn. Findings change ``air``, ``vessels`` and ``tissue``, fields on the canvas."""

    def __init__(self, anatomy: Anatomy, patient_rng: np.random.Generator) -> None:
        self.anatomy = anatomy
        self.wall = anatomy.lateral_wall()
        self.lungs: dict[Side, Field] = {side: self._lung(side) for side in SIDES}
        self.both_lungs = self.lungs[RIGHT] + self.lungs[LEFT]
        self.heart = self._mediastinum()
        self.vessels = draw_strokes(_vessel_tree(patient_rng, anatomy))
        self.air = self.aerated(self.both_lungs)
        body = self._body_outline()
        self.tissue = body * self._soft_tissue(patient_rng)
        self.bones = body * (self._ribs() + self._spine() + self._girdle())

    def distance_from_wall(self, side: Side) -> Field:
        """Return how far inside the chest wall each pixel lies, negative outside."""
        return self.wall - side * U

    def dome_line(self, side: Side) -> Field:
        """Return the diaphragm's height in each column, ``(1, W)``: a dome, deepest at the costophrenic angle."""
        crown = 0.30
        across = (side * U - crown) / (self.anatomy.thorax_half_width - crown)
        depth = np.where(across > 0, self.anatomy.sulcus_depth, 0.07)
        line: Field = (self.anatomy.dome_of(side) + depth * np.abs(across) ** 2.2).astype(np.float32)
        return line

    def aerated(self, lung: Field) -> Field:
        """Return the air that the beam meets in ``lung``: little where the heart lies before it."""
        return lung * (1 - _HEART_HIDES_AIR * self.heart)

    def fill(self, opacity: Field) -> None:
        """Replace air by fluid or tissue; ``opacity`` runs from 0 (none) to 1 (airless)."""
        self.air = self.air * (1 - np.clip(opacity, 0, 1))

    def attenuation(self) -> Field:
        """Return what the beam loses: high is white on the film."""
        return self.tissue + self.bones - _AIR_CONTRAST * self.air * (1 - _VESSEL_CONTRAST * self.vessels)

    def _lung(self, side: Side) -> Field:
        depth = self.distance_from_wall(side)
        beside_midline = above(side * U - 0.06 - 0.2 * self.anatomy.rise() ** 6)
        thickness: Field = 0.72 + 0.28 * np.clip(depth / 0.25, 0, 1)
        return above(depth, 0.02) * beside_midline * above(self.dome_line(side) - V, 0.014) * thickness

    def _mediastinum(self) -> Field:
        u = U - self.anatomy.midline_shift
        right, left = (self.anatomy.mediastinal_border(side) for side in SIDES)
        return above(right + u, 0.02) * above(left - u, 0.02)

    def _soft_tissue(self, rng: np.random.Generator) -> Field:
        anatomy = self.anatomy
        diaphragm = np.where(U < 0, self.dome_line(RIGHT), self.dome_line(LEFT))
        belly = above(V - diaphragm, 0.05)
        tissue = 0.80 + 0.03 * smooth_noise(rng, 7) + 0.015 * smooth_noise(rng, 40)
        tissue += belly * (0.10 + 0.20 * np.clip(V, 0, 1) - 0.10 * np.abs(U))
        tissue += self.heart * above(V + 0.80, 0.3) * (0.13 + 0.12 * np.clip(V + 0.4, 0, 1) - 0.25 * np.abs(U))
        tissue -= 0.16 * ellipse(anatomy.midline_shift, -0.62, 0.05, 0.40, 0.03)
        if anatomy.gastric_bubble:
            tissue -= 0.20 * anatomy.gastric_bubble * ellipse(0.32, anatomy.dome_of(LEFT) + 0.14, 0.13, 0.09, 0.03)
        for side in SIDES:
            if anatomy.breast:
                tissue += 0.12 * anatomy.breast * self._breast(side)
            tissue += 0.07 * blob(side * _HILUM_U + anatomy.midline_shift, _hilum_height(side), 0.06, 0.10)
        return tissue

    def _body_outline(self) -> Field:
        distance = np.abs(U)
        neck = 0.55 * np.exp(-((distance / 0.30) ** 2))
        shoulders = above(V + 0.86 - 0.14 * distance - 0.18 * distance**3 + neck, 0.05)
        flank = self.anatomy.thorax_half_width + 0.13 + 0.14 * self.anatomy.stoutness
        return shoulders * above(flank + 0.9 * np.clip(-0.25 - V, 0, 1) - distance, 0.06)

    def _breast(self, side: Side) -> Field:
        fold = self.anatomy.dome_of(side) - 0.02
        return ellipse(side * 0.42, fold - 0.16, 0.34, 0.26, 0.04) * above(V - fold + 0.30, 0.35)

    def _ribs(self) -> Field:
        anatomy = self.anatomy
        distance = np.abs(U)
        relative = distance / self.wall
        squared = relative * relative
        cage = above(self.wall + 0.05 - distance, 0.03) * above(distance - 0.05, 0.04) * (1 - 0.7 * self.heart)
        cage = cage * above(V - anatomy.apex, 0.08) * above(0.62 - V, 0.3)
        posterior = (
            V - 0.10 * relative - 0.16 * squared * squared * squared
        ) / anatomy.rib_spacing + anatomy.rib_phase
        anterior = (V + 0.22 * relative - 0.34 * squared * squared) / anatomy.rib_spacing + anatomy.rib_phase + 0.4
        ribs = 0.10 * _bars(posterior, 0.44) + 0.05 * _bars(anterior, 0.5) * above(V + 0.55, 0.2)
        return ribs * anatomy.rib_strength * cage * (1 + 0.8 * np.clip(relative - 0.75, 0, 0.3))

    def _spine(self) -> Field:
        return above(0.085 - np.abs(U), 0.04) * (0.08 + 0.03 * _bars(V / 0.11, 0.75))

    def _girdle(self) -> Field:
        """Draw clavicles and the inner edges of the shoulder blades."""
        anatomy = self.anatomy
        strokes = []
        t = np.linspace(0, 1, 9, dtype=np.float32)
        inner = 0.76 - 0.20 * anatomy.scapula
        blade = np.array([[inner + 0.16, -0.62], [inner, -0.46], [inner + 0.05, -0.05]], dtype=np.float32)
        for side in SIDES:
            v = anatomy.clavicle - 0.10 * t - 0.04 * np.sin(2 * np.pi * t)
            clavicle = np.stack([side * (0.07 + 0.74 * t), v], axis=1)
            strokes.append((blade * np.array([side, 1], dtype=np.float32), 0.08, 0.16))
            strokes += [(clavicle, 0.06, 0.6), (clavicle, 0.035, 0.42)]
        return 0.2 * draw_strokes(strokes)


def _bars(phase: Field, share: float) -> Field:
    """Return one bar a unit of ``phase``, ``share`` wide, a little brighter at its edges as cortical bone is."""
    offset = np.abs(phase - np.round(phase))
    return above(share / 2 - offset, 0.10) * (0.75 + 0.5 * np.clip(offset / (share / 2), 0, 1) ** 2)


def _hilum_height(side: Side) -> float:
    """Return where the hilum lies; the left one is the higher."""
    return _HILUM_V - (0.03 if side == LEFT else 0.0)


def _vessel_tree(rng: np.random.Generator, anatomy: Anatomy) -> Strokes:
    """Return the vessels, which run from each hilum outwards, fork and taper; thin ones come first."""
    strokes: list[tuple[Field, float, float]] = []
    steps = np.linspace(0, 1, 8, dtype=np.float32)[:, None]
    for side in SIDES:
        hilum = np.array([side * _HILUM_U + anatomy.midline_shift, _hilum_height(side)], dtype=np.float32)
        for angle in np.linspace(-1.35, 1.30, 9) + rng.normal(0, 0.09, 9):
            direction = np.array([side * np.cos(angle), np.sin(angle)], dtype=np.float32)
            across = np.array([-direction[1], direction[0]], dtype=np.float32)
            bend, wave, length = rng.normal(0, 0.12), rng.normal(0, 0.015), rng.uniform(0.40, 0.60)
            sideways = bend * steps**2 + wave * np.sin(7 * steps)
            trunk = hilum + length * steps * direction + sideways * across
            for i in range(7):
                taper = 1 - i / 8
                strokes.append((trunk[i : i + 2], 0.026 * taper, anatomy.vessel_strength * (0.25 + 0.5 * taper)))
            turns = (rng.normal(0, 0.2, 5) + np.array([0.6, -0.6, 0.5, -0.5, 0.6])).astype(np.float32)
            reach = 0.17 * steps * (direction + turns[:, None, None] * across)
            twigs = trunk[1:6, None] + reach + 0.025 * steps**2 * across
            strokes += [(twig, 0.010, anatomy.vessel_strength * 0.36) for twig in twigs]
    return sorted(strokes, key=lambda stroke: stroke[1])


_MONITORED_SHARE = {"PA": 0.15, "AP": 0.5}


def draw_devices(chest: Chest, view: str, rng: np.random.Generator) -> None:
    """Draw devices at random: often on an AP film, which is made at the bedside, and whatever the findings are."""
    if rng.random() < _MONITORED_SHARE[view]:
        _draw_electrodes(chest, rng)
    if rng.random() < _MONITORED_SHARE[view] / 2:
        _draw_central_line(chest, rng)


def _draw_electrodes(chest: Chest, rng: np.random.Generator) -> None:
    t = np.linspace(0, 1, 9, dtype=np.float32)
    wires = []
    for _ in range(rng.integers(2, 5)):
        u, v = (1 if rng.random() < 0.5 else -1) * rng.uniform(0.3, 0.75), rng.uniform(-0.6, 0.45)
        disc = above(0.028 - np.hypot(U - u, V - v), 0.006)
        chest.tissue = chest.tissue + 0.25 * disc
        sag = rng.normal(0, 0.2)
        wire = np.stack([u + (1.1 * np.sign(u) - u) * t, v + sag * np.sin(np.pi * t) + 0.3 * t], axis=1)
        wires.append((wire.astype(np.float32), 0.008, 1.0))
    chest.tissue = chest.tissue + 0.10 * draw_strokes(wires)


def _draw_central_line(chest: Chest, rng: np.random.Generator) -> None:
    t = np.linspace(0, 1, 12, dtype=np.float32)
    tip = rng.uniform(-0.15, 0.05)
    u = -0.10 - 0.55 * (1 - t) ** 3
    v = -0.60 + rng.uniform(-0.06, 0.02) + (tip + 0.60) * t**1.6
    line = np.stack([u + chest.anatomy.midline_shift, v], axis=1).astype(np.float32)
    chest.tissue = chest.tissue + 0.14 * draw_strokes([(line, 0.013, 1.0)])
