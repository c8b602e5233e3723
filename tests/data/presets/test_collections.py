"""Each public data set, made up in its publisher's layout and packed with one command, against pandas."""

from pathlib import Path

import made_collections
import pandas as pd
import pytest
from made_collections import CHEXPERT_LABELS, VINDR, WRITERS
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.data.manifest import Manifest, read_manifest
from clr_hpc.data.presets import preset_names, read_preset

AS_PUBLISHED_AND_AS_PNG = pytest.mark.parametrize("suffix", [".dcm", ".png"])
"""People convert DICOM data sets before they use them, and keep the names."""


class Packed:
    """What one command made of a collection."""

    def __init__(self, name: str, root: Path, *options: str) -> None:
        self.folder = root.with_name(f"{root.name}-pack")
        output = ["--output", str(self.folder), "--size", "32", "--workers", "1"]
        command = ["pack", name, str(root), *output, *options]
        self.result = CliRunner().invoke(app, command)
        assert self.result.exit_code == 0, self.result.output
        self.index = pd.read_parquet(self.folder / "index.parquet")

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.folder)

    @property
    def reasons(self) -> dict[str, int]:
        return pd.read_csv(self.folder / "rejected.csv")["reason"].value_counts().to_dict()

    def positives(self, *findings: str) -> dict[str, int]:
        return {name: int((self.index[name] == 1).sum()) for name in findings}

    def negatives(self, *findings: str) -> dict[str, int]:
        return {name: int((self.index[name] == 0).sum()) for name in findings}


def test_every_preset_is_made_up_here() -> None:
    assert sorted(WRITERS) == preset_names()
    for name in preset_names():
        preset = read_preset(name)
        assert all((preset.terms, preset.citation, preset.leaves_out, preset.reads)), name
        assert preset.url.startswith("https://")


FINDING_OF_CHEXPERT = {name: name.lower().replace(" ", "_") for name in CHEXPERT_LABELS[1:]} | {
    "Pleural Effusion": "effusion"
}


@pytest.mark.parametrize("folder", ["CheXpert-v1.0-small", "CheXpert-v1.0"])
@pytest.mark.parametrize("inside", [True, False])
def test_chexpert(tmp_path: Path, folder: str, inside: bool) -> None:
    table = made_collections.chexpert(tmp_path / "data", folder)
    packed = Packed("chexpert", tmp_path / "data" / folder if inside else tmp_path / "data")
    known = table[list(CHEXPERT_LABELS)].isin([0, 1]).any(axis=1)
    assert packed.reasons == {
        "no label in the label table": (~known).sum(),
        "'No Finding' together with Edema": 1,
        "no file of this name in the images folder": 1,
    }
    kept = table[known].drop(index=[2, 3])
    assert len(packed.index) == len(kept)
    assert packed.index["patient"].nunique() == kept["Path"].str.extract(r"(patient\d+)")[0].nunique()
    clear = kept["No Finding"] == 1
    for column, finding in FINDING_OF_CHEXPERT.items():
        healthy = clear & (column != "Support Devices")
        assert packed.positives(finding)[finding] == (kept[column] == 1).sum(), column
        assert packed.negatives(finding)[finding] == ((kept[column] == 0) | healthy).sum(), column
    assert packed.positives("no_finding")["no_finding"] == clear.sum()
    assert packed.index["split"].value_counts().to_dict() == {
        "train": kept["Path"].str.contains("/train/").sum(),
        "validation": kept["Path"].str.contains("/valid/").sum(),
    }
    assert set(packed.index["view"]) == {"AP", "PA", "LATERAL"}


def test_chexpert_by_rules_of_the_command(tmp_path: Path) -> None:
    table = made_collections.chexpert(tmp_path / "data")
    frontal = table.drop(index=[2, 3])
    lateral = (frontal["Frontal/Lateral"] == "Lateral").sum()
    frontal = frontal[frontal["Frontal/Lateral"] == "Frontal"]
    packed = Packed("chexpert", tmp_path / "data", "--uncertain", "positive", "--blank", "negative", "--frontal")
    assert len(packed.index) == len(frontal)
    edema = (frontal["Edema"].isin([1, -1])).sum()
    assert packed.positives("edema") == {"edema": edema}
    assert packed.negatives("edema") == {"edema": len(frontal) - edema}
    assert packed.manifest.source["images_of_other_views"] == {"LATERAL": lateral}


def test_mimic_cxr(tmp_path: Path) -> None:
    table = made_collections.mimic_cxr(tmp_path / "data")
    packed = Packed("mimic-cxr", tmp_path / "data")
    kept = table[(table[list(CHEXPERT_LABELS)].isin([0, 1])).any(axis=1)]
    assert len(packed.index) == len(kept)
    assert packed.reasons == {"no label in the label table": len(table) - len(kept)}
    for column, finding in FINDING_OF_CHEXPERT.items():
        assert packed.positives(finding)[finding] == (kept[column] == 1).sum(), column
    sides = kept["split"].replace("validate", "validation").value_counts().to_dict()
    assert packed.index["split"].value_counts().to_dict() == sides
    assert packed.index["view"].value_counts().to_dict() == kept["ViewPosition"].value_counts().to_dict()
    assert packed.index["patient"].nunique() == kept["subject_id"].nunique()
    assert packed.manifest.source["names"] == {}


def test_padchest(tmp_path: Path) -> None:
    table = made_collections.padchest(tmp_path / "data")
    packed = Packed("padchest", tmp_path / "data")
    labels = table["Labels"].fillna("")
    kept = labels[~labels.str.contains("unchanged|exclude") & (labels != "")]
    assert len(packed.index) == len(kept)
    assert packed.manifest.source["left_out"] == {
        "'unchanged' does not say what there is": labels.str.contains("unchanged").sum(),
        "excluded by the publisher": labels.str.contains("exclude").sum(),
    }
    patterns = {
        "effusion": "pleural effusion|hydropneumothorax",
        "atelectasis": "atelectasis",
        "pneumothorax": "hydropneumothorax",
        "mass": "pulmonary mass",
        "hernia": "hiatal hernia",
        "fibrosis": "pulmonary fibrosis",
        "emphysema": "'emphysema'",
        "no_finding": "normal",
    }
    assert packed.positives(*patterns) == {name: kept.str.contains(one).sum() for name, one in patterns.items()}
    assert packed.negatives("mass") == {"mass": (~kept.str.contains("pulmonary mass")).sum()}
    assert set(packed.index["view"]) == {"PA", "LATERAL", "AP", "COSTAL"}


@pytest.mark.parametrize(("rule", "suffix"), [("any", ".dcm"), ("majority", ".png"), ("all", ".png")])
def test_vindr_cxr_by_each_rule_for_its_readers(tmp_path: Path, rule: str, suffix: str) -> None:
    table = made_collections.vindr_cxr(tmp_path / "data", suffix)
    packed = Packed("vindr-cxr", tmp_path / "data", "--readers", rule)
    by_image = table.groupby("image_id")[[*VINDR, "No finding"]].mean()
    least = {"any": 0.01, "majority": 0.51, "all": 1.0}[rule]
    assert len(packed.index) == len(by_image)
    findings = {"Pleural effusion": "effusion", "Nodule/Mass": "nodule_mass", "Lung Opacity": "lung_opacity",
                "Aortic enlargement": "aortic_enlargement", "Cardiomegaly": "cardiomegaly"}  # fmt: skip
    for column, finding in findings.items():
        assert packed.positives(finding)[finding] == (by_image[column] >= least).sum(), column
        assert packed.negatives(finding)[finding] == (by_image[column] < least).sum(), column
    found = 1 - by_image["No finding"]
    assert packed.positives("no_finding")["no_finding"] == (found < least).sum()
    assert packed.manifest.counts.splits["test"].images == 6
    assert packed.manifest.source["readers"] == rule


def test_vindr_cxr_as_kaggle_has_it(tmp_path: Path) -> None:
    table = made_collections.vinbigdata(tmp_path / "data")
    packed = Packed("vindr-cxr", tmp_path / "data")
    votes = (
        pd.crosstab(table["image_id"], [table["class_name"], table["rad_id"]])
        .clip(upper=1)
        .T.groupby(level=0)
        .sum()
    )
    assert len(packed.index) == 20
    assert packed.positives("cardiomegaly") == {"cardiomegaly": (votes.loc["Cardiomegaly"] >= 2).sum()}
    assert packed.positives("no_finding") == {"no_finding": (votes.loc["No finding"] >= 2).sum()}
    assert packed.manifest.split.kind == "seeded"


@AS_PUBLISHED_AND_AS_PNG
def test_rsna_keeps_all_patients_with_pneumonia(tmp_path: Path, suffix: str) -> None:
    table = made_collections.rsna(tmp_path / "data", suffix)
    packed = Packed("rsna", tmp_path / "data")
    by_image = table.groupby("patientId").first()
    assert (table["Target"].sum(), by_image["Target"].sum()) == (24, 12)
    assert len(packed.index) == len(by_image)
    assert packed.positives("pneumonia", "no_finding") == {
        "pneumonia": by_image["Target"].sum(),
        "no_finding": (by_image["class"] == "Normal").sum(),
    }
    assert packed.negatives("pneumonia", "no_finding", "mass") == {
        "pneumonia": (by_image["Target"] == 0).sum(),
        "no_finding": (by_image["class"] != "Normal").sum(),
        "mass": (by_image["class"] == "Normal").sum(),
    }
    assert packed.reasons == {}


@AS_PUBLISHED_AND_AS_PNG
def test_siim(tmp_path: Path, suffix: str) -> None:
    table = made_collections.siim(tmp_path / "data", suffix)
    packed = Packed("siim", tmp_path / "data")
    positive = (table[" EncodedPixels"] != "-1").groupby(table["ImageId"]).any()
    assert packed.positives("pneumothorax") == {"pneumothorax": positive.sum()}
    assert packed.negatives("pneumothorax") == {"pneumothorax": (~positive).sum()}


def test_openi(tmp_path: Path) -> None:
    table = made_collections.openi(tmp_path / "data")
    packed = Packed("openi", tmp_path / "data")
    problems = table["Problems"]
    kept = problems[~problems.str.contains("No Indexing|Technical Quality")]
    assert len(packed.index) == len(kept)
    patterns = {
        "atelectasis": "Atelectasis",
        "hernia": "Hiatal",
        "effusion": "Pleural Effusion",
        "fracture": "Fractures",
        "lung_opacity": "Opacity",
        "nodule": "Nodule",
        "no_finding": "normal",
    }
    assert packed.positives(*patterns) == {name: kept.str.contains(one).sum() for name, one in patterns.items()}
    assert packed.index["view"].value_counts().to_dict() == {"FRONTAL": len(kept) // 2, "LATERAL": len(kept) // 2}
    assert packed.index["patient"].nunique() == len(kept) // 2


def test_covid_chestxray(tmp_path: Path) -> None:
    table = made_collections.covid_chestxray(tmp_path / "data")
    packed = Packed("covid-chestxray", tmp_path / "data")
    kept = table[(table["modality"] == "X-ray") & ~table["finding"].isin(["todo", "Unknown"])]
    assert len(packed.index) == len(kept)
    patterns = {
        "covid_19": "COVID-19",
        "pneumonia": "Pneumonia",
        "tuberculosis": "Tuberc",
        "no_finding": "No Finding",
    }
    counted = {name: kept["finding"].str.contains(one).sum() for name, one in patterns.items()}
    assert packed.positives(*patterns) == counted
    assert packed.index["age_years"].isna().sum() == kept["age"].isna().sum()
    assert packed.manifest.source["left_out"]["no X-ray"] == (table["modality"] == "CT").sum()


def test_nih_google(tmp_path: Path) -> None:
    table = made_collections.nih_google(tmp_path / "data")
    packed = Packed("nih-google", tmp_path / "data")
    columns = {"Fracture": "fracture", "Airspace opacity": "airspace_opacity", "Nodule or mass": "nodule_or_mass",
               "Pneumothorax": "pneumothorax"}  # fmt: skip
    for column, finding in columns.items():
        assert packed.positives(finding)[finding] == (table[column] == "YES").sum()
        assert packed.negatives(finding)[finding] == (table[column] == "NO").sum()
    assert packed.index["split"].value_counts().to_dict() == {"validation": 24, "test": 24}
    drawn = Packed("nih-google", tmp_path / "data", "--own-split", "--output", str(tmp_path / "drawn"))
    assert read_manifest(tmp_path / "drawn").counts.splits["train"].images > 0
    assert drawn.manifest.split.kind == "official"
