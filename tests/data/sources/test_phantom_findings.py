"""Each finding is measured in the drawn chest, before exposure, against the definition it is drawn by."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.sources.phantom.anatomy import LEFT, RIGHT, SIDES, Anatomy, Side, draw_anatomy, pose
from clr_hpc.data.sources.phantom.canvas import PIXELS_PER_UNIT, Field, U, V
from clr_hpc.data.sources.phantom.chest import Chest
from clr_hpc.data.sources.phantom.findings import draw, reshape
from clr_hpc.data.sources.phantom.patients import Lesion

CM_PER_PIXEL = 20 / PIXELS_PER_UNIT
seeds = st.integers(0, 10_000)
severities = st.floats(0, 1)
sides = st.sampled_from(SIDES)
few = settings(max_examples=15, deadline=None)


def anatomy_of(seed: int, view: str = "PA") -> Anatomy:
    rng = np.random.default_rng(seed)
    return pose(draw_anatomy(rng, "FM"[seed % 2], 50), view, rng)


def chest_with(seed: int, *lesions: Lesion) -> Chest:
    chest = Chest(reshape(anatomy_of(seed), lesions), np.random.default_rng(seed))
    draw(chest, lesions)
    return chest


def lesion(pathology: str, severity: float, side: Side = LEFT, seed: int = 0) -> Lesion:
    return Lesion(pathology, side, severity, (seed, 1))


def lost_air(seed: int, one: Lesion) -> Field:
    """What ``one`` takes from the air, in a chest that has the lesion's shape."""
    before = Chest(reshape(anatomy_of(seed), (one,)), np.random.default_rng(seed))
    return before.air - chest_with(seed, one).air


@pytest.mark.parametrize("pathology", PATHOLOGIES)
@pytest.mark.parametrize("seed", range(3))
def test_every_finding_shows_and_more_when_severe(pathology: str, seed: int) -> None:
    normal = chest_with(seed).attenuation()
    mild, severe = (
        float(np.abs(chest_with(seed, lesion(pathology, severity, seed=seed)).attenuation() - normal).sum())
        for severity in (0.1, 1.0)
    )
    assert 0 < mild < severe


@few
@given(seeds, severities)
def test_cardiomegaly_is_a_heart_wider_than_half_the_chest(seed: int, severity: float) -> None:
    def ratio(anatomy: Anatomy) -> float:
        below_hilum = V.ravel() > 0
        heart = sum(anatomy.mediastinal_border(side).ravel()[below_hilum].max() for side in SIDES)
        return float(heart / (2 * anatomy.lateral_wall().max()))

    healthy = anatomy_of(seed)
    assert ratio(healthy) < 0.5
    assert ratio(reshape(healthy, (lesion("cardiomegaly", severity),))) > 0.5
    both = (lesion("cardiomegaly", severity), lesion("emphysema", 1.0))
    assert ratio(reshape(healthy, both)) > 0.5
    assert ratio(anatomy_of(seed, "AP")) > ratio(healthy)


@few
@given(seeds, severities, sides)
def test_a_mass_is_wider_than_3_cm(seed: int, severity: float, side: Side) -> None:
    lost = lost_air(seed, lesion("mass", severity, side, seed))
    rows, columns = np.nonzero(lost > 0.01)
    assert (np.ptp(rows) + 1) * CM_PER_PIXEL > 3.0
    assert np.all(side * U.ravel()[columns] > 0)


@few
@given(seeds, severities)
def test_nodules_are_narrower_than_3_cm(seed: int, severity: float) -> None:
    lost = lost_air(seed, lesion("nodule", severity, seed=seed)) > 0.05
    assert 0 < lost.sum() * CM_PER_PIXEL**2 < 3 * np.pi * 1.5**2


@few
@given(seeds, st.floats(0.3, 1), sides)
def test_an_effusion_lies_lowest_and_reaches_higher_at_the_wall(seed: int, severity: float, side: Side) -> None:
    lost = lost_air(seed, lesion("effusion", severity, side, seed)) * (side * U > 0)
    air_before = lost > 0.2
    top_of_column = np.where(air_before.any(axis=0), air_before.argmax(axis=0), 10_000)
    wall = float(anatomy_of(seed).lateral_wall().max())
    near_wall = np.abs(side * U.ravel() - (wall - 0.06)) < 0.03
    farther_in = np.abs(side * U.ravel() - (wall - 0.22)) < 0.03
    assert top_of_column[near_wall].min() < top_of_column[farther_in].min()
    assert np.average(np.broadcast_to(V, lost.shape), weights=lost) > 0.0


@few
@given(seeds, severities)
def test_emphysema_lowers_and_flattens_the_diaphragm(seed: int, severity: float) -> None:
    healthy, changed = anatomy_of(seed), reshape(anatomy_of(seed), (lesion("emphysema", severity),))
    assert min(changed.dome) > min(healthy.dome)
    assert changed.sulcus_depth < healthy.sulcus_depth
    assert changed.cardiothoracic_ratio < healthy.cardiothoracic_ratio


@few
@given(seeds, severities, sides)
def test_atelectasis_raises_its_side_of_the_diaphragm_and_pulls_the_heart(
    seed: int, severity: float, side: Side
) -> None:
    healthy, changed = anatomy_of(seed), reshape(anatomy_of(seed), (lesion("atelectasis", severity, side),))
    assert changed.dome_of(side) < healthy.dome_of(side)
    assert changed.dome_of(-side) == healthy.dome_of(-side)  # type: ignore[arg-type]
    assert side * (changed.midline_shift - healthy.midline_shift) >= 0


@few
@given(seeds, st.floats(0.2, 1), sides)
def test_a_pneumothorax_has_air_and_no_vessels_at_the_wall(seed: int, severity: float, side: Side) -> None:
    chest = chest_with(seed, lesion("pneumothorax", severity, side))
    depth = chest.distance_from_wall(side)
    rim = (depth > 0.01) & (depth < 0.03) & (chest.lungs[side] > 0.5) & (np.abs(V + 0.4) < 0.1)
    assert rim.any()
    assert chest.vessels[rim].max() == 0
    assert chest.air[rim].min() > 0.5


@few
@given(seeds, severities)
def test_edema_is_densest_around_both_hila(seed: int, severity: float) -> None:
    edema = lesion("edema", severity, seed=seed)
    lost = lost_air(seed, edema)
    # fluid takes a share of the air that is there, and some hearts hide most of a hilum's
    air = lost + chest_with(seed, edema).air
    for side in SIDES:
        hilum = (np.abs(side * U - 0.3) < 0.06) & (np.abs(V + 0.08) < 0.08)
        apex = (np.abs(side * U - 0.3) < 0.06) & (np.abs(V + 0.6) < 0.05)
        assert lost[hilum].sum() / air[hilum].sum() > 3 * lost[apex].sum() / air[apex].sum()


@few
@given(seeds, severities)
def test_fibrosis_lies_low_and_along_the_wall(seed: int, severity: float) -> None:
    lost = lost_air(seed, lesion("fibrosis", severity, seed=seed))
    edge = anatomy_of(seed).lateral_wall() - np.abs(U)
    peripheral = (edge > 0.03) & (edge < 0.10)
    assert lost[peripheral & (V > 0.05) & (V < 0.25)].mean() > lost[(np.abs(U) < 0.4) & (V < -0.3)].mean()


@few
@given(seeds, severities)
def test_a_hernia_lies_behind_the_heart(seed: int, severity: float) -> None:
    one = lesion("hernia", severity, seed=seed)
    before = Chest(anatomy_of(seed), np.random.default_rng(seed))
    added = np.abs(chest_with(seed, one).tissue - before.tissue)
    assert abs(np.average(np.broadcast_to(U, added.shape), weights=added)) < 0.25
    assert np.average(np.broadcast_to(V, added.shape), weights=added) > -0.05


@few
@given(seeds, severities, sides)
def test_pleural_thickening_stays_at_the_wall_and_the_apex(seed: int, severity: float, side: Side) -> None:
    lost = lost_air(seed, lesion("pleural_thickening", severity, side, seed))
    anatomy = anatomy_of(seed)
    inside = (anatomy.lateral_wall() - side * U > 0.15) & (anatomy.apex + 0.25 < V)
    assert lost.max() > 0.2
    assert lost[inside].max() == 0
    assert lost[np.broadcast_to(side * U < 0, lost.shape)].max() == 0


@pytest.mark.parametrize("pathology", ["consolidation", "pneumonia"])
@pytest.mark.parametrize("side", [RIGHT, LEFT])
def test_airspace_disease_keeps_to_its_side(pathology: str, side: Side) -> None:
    lost = lost_air(1, lesion(pathology, 0.8, side))
    assert lost[np.broadcast_to(side * U < -0.02, lost.shape)].sum() < 0.01 * lost.sum()


def test_consolidation_is_denser_than_infiltration() -> None:
    dense, faint = (
        np.mean([np.quantile(lost_air(seed, lesion(name, 0.7, seed=seed)), 0.99) for seed in range(8)])
        for name in ("consolidation", "infiltration")
    )
    assert dense > 1.2 * faint


def test_a_lesion_keeps_its_place_over_follow_ups() -> None:
    first, later = (lost_air(2, lesion("mass", severity, RIGHT, 5)) for severity in (0.3, 0.8))
    centre = [np.argwhere(lost > 0.1).mean(axis=0) for lost in (first, later)]
    assert np.abs(centre[0] - centre[1]).max() < 4
