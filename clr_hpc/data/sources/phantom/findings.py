"""The 14 findings, each drawn as radiology defines it (Hansell et al. 2008, doi:10.1148/radiol.2462070712)."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from clr_hpc.data.sources.phantom.anatomy import LEFT, RIGHT, SIDES, Anatomy, Side
from clr_hpc.data.sources.phantom.canvas import Field, U, V, above, blob, draw_strokes, ellipse, smooth_noise
from clr_hpc.data.sources.phantom.chest import Chest
from clr_hpc.data.sources.phantom.patients import Lesion


def reshape(anatomy: Anatomy, lesions: tuple[Lesion, ...]) -> Anatomy:
    """Return the chest with the size and place of its parts as the lesions change them."""
    for pathology, change in _RESHAPING.items():
        for lesion in lesions:
            if lesion.pathology == pathology:
                anatomy = change(anatomy, lesion)
    return anatomy


def draw(chest: Chest, lesions: tuple[Lesion, ...]) -> None:
    """Draw the lesions into the chest: first those of the lung, then those of the pleura, which may cover them."""
    for pathology, add in _DRAWING.items():
        for lesion in lesions:
            if lesion.pathology == pathology:
                add(chest, lesion)


def _enlarge_heart(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Cardiothoracic ratio above 0.5."""
    magnified = anatomy.magnification
    return replace(anatomy, cardiothoracic_ratio=magnified * (0.502 + 0.10 * lesion.severity**2))


def _hyperinflate(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Low, flat diaphragm, wide chest, narrow heart."""
    by = 0.04 + 0.11 * lesion.severity
    right, left = anatomy.dome
    return replace(
        anatomy,
        dome=(right + by, left + by),
        sulcus_depth=anatomy.sulcus_depth * (0.75 - 0.45 * lesion.severity),
        thorax_half_width=anatomy.thorax_half_width * (1.02 + 0.03 * lesion.severity),
        cardiothoracic_ratio=anatomy.cardiothoracic_ratio * (0.97 - 0.12 * lesion.severity),
    )


def _lose_volume(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """The diaphragm rises and the mediastinum moves towards the collapsed lobe."""
    anatomy = anatomy.raise_dome(lesion.side, 0.01 + 0.11 * lesion.severity)
    return replace(anatomy, midline_shift=anatomy.midline_shift + lesion.side * 0.05 * lesion.severity)


def _shrink(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Scarred lungs are small."""
    right, left = anatomy.dome
    by = 0.05 * lesion.severity
    return replace(anatomy, dome=(right - by, left - by))


def _push_mediastinum(anatomy: Anatomy, lesion: Lesion) -> Anatomy:
    """Free air pushes the mediastinum to the other side."""
    return replace(anatomy, midline_shift=anatomy.midline_shift - lesion.side * 0.04 * lesion.severity)


def _draw_atelectasis(chest: Chest, lesion: Lesion) -> None:
    """A collapsed lobe is a wedge against the hilum, a collapsed segment a plate above the diaphragm."""
    rng, side = lesion.rng(), lesion.side
    floor = chest.anatomy.dome_of(side)
    for _ in range(rng.integers(1, 3)):
        centre, height, length = rng.uniform(0.32, 0.46), floor - rng.uniform(0.05, 0.22), rng.uniform(0.15, 0.22)
        slope, half_width = rng.uniform(-0.25, 0.10), 0.016 + 0.012 * lesion.severity
        along = side * U - centre
        plate = above(half_width - np.abs(V - height - slope * along), 0.015) * above(length - np.abs(along), 0.08)
        chest.fill((0.35 + 0.5 * lesion.severity) * plate)
    if rng.random() < 0.4:
        edge = 0.20 + 0.20 * lesion.severity
        wedge = above(edge * (V - floor + 0.42) / 0.42 - (side * U - 0.08), 0.02)
        chest.fill((0.3 + 0.5 * lesion.severity) * wedge * chest.lungs[side])


def _draw_consolidation(chest: Chest, lesion: Lesion) -> None:
    """A lobe without air, sharp at the fissure; its bronchi still hold air and show as dark branches."""
    rng, side = lesion.rng(), lesion.side
    fissure = -0.12 + rng.normal(0, 0.03)
    slant = rng.uniform(-0.06, 0.14)
    edge = V - fissure - slant * (side * U - 0.3)
    far = 0.22 + 0.20 * lesion.severity
    upper = rng.random() < 0.45
    lobe = above(-edge if upper else edge, 0.015) * above(far + (edge if upper else -edge), 0.12)
    lobe = lobe * above(0.25 + smooth_noise(rng, 9) * 0.2 + 0.4 * lesion.severity, 0.3)
    bronchi = _bronchogram(rng, side)
    chest.fill((0.45 + 0.5 * lesion.severity) * lobe * chest.lungs[side] * (1 - 0.75 * bronchi))


def _bronchogram(rng: np.random.Generator, side: int) -> Field:
    steps = np.linspace(0.1, 1, 5, dtype=np.float32)[:, None]
    branches = []
    for angle in np.linspace(-1.1, 1.2, 9) + rng.normal(0, 0.08, 9):
        direction = np.array([side * np.cos(angle), np.sin(angle)], dtype=np.float32)
        bend = rng.normal(0, 0.07) * steps**2 * direction[::-1]
        branches.append((np.array([side * 0.17, -0.1]) + 0.42 * steps * direction + bend, 0.020, 1.0))
    return draw_strokes(branches)


def _draw_effusion(chest: Chest, lesion: Lesion) -> None:
    """Fluid fills the costophrenic angle; its surface rises to the wall as a meniscus."""
    rng = lesion.rng()
    both = rng.random() < 0.35
    for side in SIDES:
        if side != lesion.side and not both:
            continue
        amount = lesion.severity * (1.0 if side == lesion.side else rng.uniform(0.4, 0.9))
        angle = chest.anatomy.dome_of(side) + 0.10
        level = angle - 0.02 - 0.42 * amount
        meniscus = (0.10 + 0.12 * amount) * np.exp(-np.clip(chest.distance_from_wall(side), 0, None) / 0.13)
        fluid = above(V - level - 0.10 * (1 - amount) + meniscus, 0.03) * chest.lungs[side]
        chest.fill(0.97 * fluid)


def _draw_edema(chest: Chest, lesion: Lesion) -> None:
    """Haze around both hila like a bat's wings, thick vessels, and short Kerley B lines at the lateral bases."""
    rng = lesion.rng()
    strength = 0.08 + 0.42 * lesion.severity
    lines = []
    for side in SIDES:
        wing = blob(side * 0.27, -0.08, 0.26, 0.34)
        chest.fill(strength * wing * (1 + 0.18 * smooth_noise(rng, 22)))
        for height in np.linspace(0.02, 0.28, 6) + rng.normal(0, 0.012, 6):
            outer = 0.97 * chest.anatomy.thorax_half_width
            points = np.array(
                [[side * (outer - rng.uniform(0.05, 0.11)), height + 0.01], [side * outer, height]],
                dtype=np.float32,
            )
            lines.append((points, 0.010, 1.0))
    chest.fill((0.05 + 0.35 * lesion.severity) * draw_strokes(lines))
    chest.vessels = np.clip(chest.vessels * (1 + 0.4 * lesion.severity), 0, 1)


def _draw_emphysema(chest: Chest, lesion: Lesion) -> None:
    """Few and thin vessels, more air, here and there a bulla."""
    rng = lesion.rng()
    chest.vessels = chest.vessels * (0.85 - 0.55 * lesion.severity)
    chest.air = chest.air * (1.08 + 0.14 * lesion.severity)
    for _ in range(rng.integers(1, 4)):
        u, v = _either_side(rng) * rng.uniform(0.3, 0.55), rng.uniform(-0.55, -0.2)
        chest.air = chest.air * (1 + 0.12 * ellipse(u, v, 0.11, 0.10))


def _draw_fibrosis(chest: Chest, lesion: Lesion) -> None:
    """A net of fine lines (reticulation) at the bases and along the wall of both lungs."""
    rng = lesion.rng()
    net = np.exp(-((smooth_noise(rng, 52) / 0.28) ** 2))
    base = above(V - (0.12 - 0.35 * lesion.severity), 0.35)
    edge = np.exp(-np.clip(chest.wall - np.abs(U), 0, None) / 0.16)
    where = np.clip(base * (0.35 + 0.9 * edge) + 0.35 * edge * above(V + 0.45, 0.3), 0, 1)
    chest.fill((0.3 + 0.5 * lesion.severity) * where * net * chest.both_lungs)


def _draw_hernia(chest: Chest, lesion: Lesion) -> None:
    """The stomach lies behind the heart: a round shadow with an air-fluid level."""
    rng = lesion.rng()
    radius = 0.078 + 0.085 * lesion.severity
    u = 0.04 + rng.uniform(-0.06, 0.10)
    v = min(chest.anatomy.dome) - radius + rng.uniform(0.02, 0.07)
    sac, lumen = (ellipse(u, v, 1.15 * r, r) for r in (radius, radius - 0.025))
    gas = lumen * above(v + rng.uniform(-0.5, 0.2) * radius - V, 0.012)
    chest.fill(0.68 * sac)
    chest.tissue = chest.tissue + (0.05 + 0.05 * lesion.severity) * sac - (0.09 + 0.14 * lesion.severity) * gas


def _draw_infiltration(chest: Chest, lesion: Lesion) -> None:
    """Ill-defined faint patches over much of one or both lungs."""
    rng = lesion.rng()
    for side in SIDES if rng.random() < 0.5 else (lesion.side,):
        u, v = side * rng.uniform(0.3, 0.5), rng.uniform(-0.35, 0.2)
        where = blob(u, v, 0.34, 0.42)
        patches = above(smooth_noise(rng, 17) + 0.15, 0.55)
        chest.fill((0.25 + 0.35 * lesion.severity) * where * patches * chest.lungs[side])


def _draw_mass(chest: Chest, lesion: Lesion) -> None:
    """A round opacity wider than 3 cm, lobulated."""
    rng = lesion.rng()
    radius = 0.085 + 0.075 * lesion.severity
    u, v = lesion.side * rng.uniform(0.28, 0.5), rng.uniform(-0.5, 0.12)
    angle = np.arctan2(V - v, U - u)
    lobes = 1 + 0.08 * np.cos(3 * angle + rng.uniform(0, 6)) + 0.05 * np.cos(5 * angle + rng.uniform(0, 6))
    distance = np.hypot(U - u, V - v)
    chest.fill((0.4 + 0.5 * lesion.severity) * above(radius * lobes - distance, 0.02))


def _draw_nodule(chest: Chest, lesion: Lesion) -> None:
    """One to three round opacities less than 3 cm wide."""
    rng = lesion.rng()
    for _ in range(rng.integers(1, 4)):
        radius = 0.037 + 0.026 * lesion.severity * rng.uniform(0.7, 1)
        side = _either_side(rng)
        u, v = side * rng.uniform(0.27, 0.55), rng.uniform(-0.5, 0.15)
        chest.fill((0.5 + 0.4 * lesion.severity) * ellipse(u, v, radius, radius, 0.014))


def _draw_pneumonia(chest: Chest, lesion: Lesion) -> None:
    """One segment, patchily airless, with soft edges."""
    rng, side = lesion.rng(), lesion.side
    u, v = (
        side * rng.uniform(0.3, 0.48),
        rng.uniform(-0.45, -0.25) if rng.random() < 0.5 else rng.uniform(0.0, 0.2),
    )
    size = 0.17 + 0.08 * lesion.severity
    segment = above(1.1 - np.hypot((U - u) / (1.15 * size), (V - v) / size) + 0.16 * smooth_noise(rng, 14), 0.45)
    texture = np.clip(0.8 + 0.25 * smooth_noise(rng, 36), 0, 1)
    chest.fill((0.4 + 0.45 * lesion.severity) * segment * texture * chest.lungs[side])


def _draw_pneumothorax(chest: Chest, lesion: Lesion) -> None:
    """Beyond a fine white pleural line lies air without lung markings, widest at the apex."""
    side = lesion.side
    gap = 0.14 * lesion.severity + (0.04 + 0.16 * lesion.severity) * chest.anatomy.rise() ** 2
    depth = chest.distance_from_wall(side) - gap
    free = above(-depth, 0.008) * (chest.lungs[side] > 0.02)
    line = np.clip(1 - np.abs(depth) / 0.014, 0, 1) * chest.lungs[side]
    air = 1.12 * chest.aerated(chest.lungs[side])
    chest.air = np.where(free > 0, free * air + (1 - free) * chest.air, chest.air * (1 - 0.10 * chest.lungs[side]))
    chest.vessels = chest.vessels * (1 - free)
    chest.tissue = chest.tissue + 0.16 * line


def _draw_pleural_thickening(chest: Chest, lesion: Lesion) -> None:
    """A band along the wall, with an apical cap."""
    rng, side = lesion.rng(), lesion.side
    width = 0.010 + 0.042 * lesion.severity
    centre, half_length = rng.uniform(-0.3, 0.0), rng.uniform(0.25, 0.4)
    taper = np.clip(1.3 - ((V - centre) / half_length) ** 2, 0, 1) ** 0.5
    ragged = 1 + 0.25 * smooth_noise(rng, 20)[:, :1]
    band = above(width * taper * ragged - chest.distance_from_wall(side), 0.012) * (taper > 0)
    cap = above(chest.anatomy.apex + 0.06 + 1.5 * width - V, 0.02)
    chest.fill((0.3 + 0.5 * lesion.severity) * np.maximum(band, cap) * (side * U > 0))


def _either_side(rng: np.random.Generator) -> Side:
    return LEFT if rng.random() < 0.5 else RIGHT


_RESHAPING: dict[str, Callable[[Anatomy, Lesion], Anatomy]] = {
    "atelectasis": _lose_volume,
    "emphysema": _hyperinflate,
    "fibrosis": _shrink,
    "pneumothorax": _push_mediastinum,
    "cardiomegaly": _enlarge_heart,
}
"""Findings in drawing order; the heart is last, so that hyperinflation doesn't narrow it below its definition."""

_DRAWING: dict[str, Callable[[Chest, Lesion], None]] = {
    "emphysema": _draw_emphysema,
    "edema": _draw_edema,
    "fibrosis": _draw_fibrosis,
    "infiltration": _draw_infiltration,
    "pneumonia": _draw_pneumonia,
    "consolidation": _draw_consolidation,
    "atelectasis": _draw_atelectasis,
    "mass": _draw_mass,
    "nodule": _draw_nodule,
    "pneumothorax": _draw_pneumothorax,
    "pleural_thickening": _draw_pleural_thickening,
    "effusion": _draw_effusion,
    "hernia": _draw_hernia,
}
"""Findings in drawing order. Cardiomegaly only reshapes the chest."""
