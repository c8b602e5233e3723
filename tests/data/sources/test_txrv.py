from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from clr_hpc.data.build import build_pack
from clr_hpc.data.source import RejectedImageError, SourceError
from clr_hpc.data.sources.source import OwnSource
from clr_hpc.data.sources.txrv import TxrvSource, to_bytes

MODULE = """
from pathlib import Path
import numpy as np
import pandas as pd
from clr_hpc.data.sources.phantom.source import PhantomSource


class Dataset:
    pathologies = ["Lung Opacity", "Pneumonia", "Effusion"]

    def __init__(self, patients=True, views=("PA",), broken=None):
        self.views, self.broken = views, broken
        columns = {"view": ["PA", "AP", "L"] * 4, "age_years": [40, np.nan] * 6, "sex_male": [1, 0, np.nan] * 4}
        if patients:
            columns["patientid"] = [number // 2 for number in range(12)]
        self.csv = pd.DataFrame(columns)
        self.labels = np.array([[number % 2, np.nan, number % 3 == 0] for number in range(12)], dtype=np.float32)

    def __getitem__(self, number):
        if number == self.broken:
            raise FileNotFoundError("no such image")
        image = np.random.default_rng(number).integers(0, 256, (1, 64, 64)).astype(np.float32)
        return {"idx": number, "img": (image / 255 * 2 - 1) * 1024, "lab": self.labels[number]}


class Films(PhantomSource):
    pass


class Other:
    pass
"""


@pytest.fixture(autouse=True)
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "made_up_sets.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)


def test_a_data_set_of_torchxrayvision_becomes_a_pack(tmp_path: Path) -> None:
    source = TxrvSource("made_up_sets.Dataset", (("broken", "5"), ("views", "[PA, AP]")))
    build_pack(source, tmp_path / "pack", 32, workers=1)
    index = pd.read_parquet(tmp_path / "pack/index.parquet")
    assert len(index) == 11
    assert index["patient"].nunique() == 6
    assert index["effusion"].sum() == 4
    assert (index["lung_opacity"].sum(), index["pneumonia"].notna().sum()) == (5, 0)
    assert index["view"].value_counts().to_dict() == {"PA": 4, "AP": 4, "LATERAL": 3}
    assert index["sex"].fillna("").tolist()[:3] == ["M", "F", ""]
    rejected = pd.read_csv(tmp_path / "pack/rejected.csv")["reason"]
    assert rejected.tolist() == ["can't be read: FileNotFoundError: no such image"]


def test_its_pixels_are_the_bytes_that_it_was_made_of() -> None:
    gray = np.arange(256, dtype=np.float32).reshape(1, 16, 16)
    assert np.array_equal(to_bytes((gray / 255 * 2 - 1) * 1024), gray[0].astype(np.uint8))
    for wrong in (gray[0], np.repeat(gray, 3, axis=0), gray * 10, gray * np.nan):
        with pytest.raises(RejectedImageError, match="needed"):
            to_bytes(wrong)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("made_up_sets.Absent", (), "made_up_sets.Absent can't be imported: AttributeError"),
        ("absent_module.Dataset", (), "can't be imported: ModuleNotFoundError.*install its package"),
        ("Dataset", (), "'Dataset' names no class"),
        ("made_up_sets.Other", (), "has no pathologies and no labels and no csv"),
        ("made_up_sets.Dataset", (("patience", "1"),), r"Dataset\(patience=1\): TypeError.*--arg NAME=VALUE"),
        ("made_up_sets.Dataset", (("views", "[PA"),), "--arg views=.*not YAML"),
        ("made_up_sets.Dataset", (("patients", "false"),), "no column 'patientid'.*--image-is-patient"),
    ],
)
def test_what_is_no_such_data_set_is_named(
    name: str, arguments: tuple[tuple[str, str], ...], message: str
) -> None:
    with pytest.raises(SourceError, match=message):
        TxrvSource(name, arguments).table()


def test_a_source_of_the_users_own(tmp_path: Path) -> None:
    source = OwnSource("made_up_sets:Films", (("images", "30"), ("seed", "3")))
    manifest = build_pack(source, tmp_path / "pack", 32, workers=2)
    assert manifest.counts.images == 30
    assert manifest.source["seed"] == 3
    with pytest.raises(SourceError, match="derive it from that"):
        OwnSource("made_up_sets:Other").table()
