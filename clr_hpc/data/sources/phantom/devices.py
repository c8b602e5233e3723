"""What lies on or in a patient and is no finding: electrodes and their wires, a central line."""

import numpy as np

from clr_hpc.data.sources.phantom.canvas import U, V, above, draw_strokes
from clr_hpc.data.sources.phantom.chest import Chest

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
