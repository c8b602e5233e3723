"""Findings by the names that people give them."""

import pytest

from clr_hpc.config.pathologies import parse_finding


@pytest.mark.parametrize(
    ("text", "finding"),
    [
        ("Pleural_Thickening", "pleural_thickening"),
        ("Pleural Effusion", "effusion"),
        ("Pleural effusion (Y/N)", "effusion"),
        ("Cardiomegaly [0/1]", "cardiomegaly"),
        ("Mass (yes/no) ", "mass"),
        ("Rib fracture (healed)", "rib_fracture_healed"),
        ("Opacity (1)", "opacity_1"),
        ("(Y/N)", None),
        ("3rd rib", None),
    ],
)
def test_names(text: str, finding: str | None) -> None:
    assert parse_finding(text) == finding
