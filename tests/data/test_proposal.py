import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.data.proposal import Proposal, propose
from clr_hpc.data.tables.label_table import read_label_table

TABLES = {
    "chexpert": (
        "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema,Fracture\n"
        "train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,\n"
        "train/patient00001/study1/view2_lateral.jpg,Female,68,Lateral,,,1.0,0.0\n"
        "train/patient00003/study1/view1_frontal.jpg,Male,50,Frontal,PA,,-1.0,1.0\n",
        r"--image-column Path --patient-from '(patient\d+)' --finding Fracture --view-column AP/PA "
        "--view-column Frontal/Lateral --age-column Age --sex-column Sex",
    ),
    "rsna": (
        "patientId,x,y,width,height,Target\nu1,1.0,2.0,3.0,4.0,1\nu1,9.0,2.0,3.0,4.0,1\nu2,,,,,0\n",
        "--image-column patientId --patient-column patientId --finding Target",
    ),
    "vindr": (
        "image_id,class_name,rad_id,x_min,y_min,x_max,y_max\n"
        "u1,Cardiomegaly,R1,1,2,3,4\nu1,Aortic enlargement,R2,1,2,3,4\n"
        "u2,No finding,R1,,,,\nu2,No finding,R2,,,,\n",
        "--image-column image_id --image-is-patient --finding 'Aortic enlargement' --findings-column class_name "
        "--reader-column rad_id --readers majority",
    ),
    "padchest": (
        "ImageID,PatientID,Projection,PatientSex_DICOM,Labels\n"
        "a.png,1,PA,M,\"['normal']\"\nb.png,1,L,M,\"['pleural effusion', 'cardiomegaly']\"\n",
        "--image-column ImageID --patient-column PatientID --findings-column Labels --view-column Projection "
        "--sex-column PatientSex_DICOM",
    ),
    "german": (
        "Datei;Fall;Geschlecht;Pneumonie;effusion\na.png;7;W;ja;1\nb.png;8;M;nein;0\n",
        "--image-column Datei --image-is-patient --sex-column Geschlecht",
    ),
}


def proposal_of(folder: Path, text: str) -> Proposal:
    (folder / "labels.csv").write_text(text)
    return propose(read_label_table(folder / "labels.csv"))


@pytest.mark.parametrize("name", TABLES)
def test_the_command_for_a_table(tmp_path: Path, name: str) -> None:
    text, options = TABLES[name]
    found = proposal_of(tmp_path, text)
    table = tmp_path / "labels.csv"
    assert found.command == f"clr-hpc pack table --images IMAGES --labels {table} {options} --output packs/labels"
    assert any("replace IMAGES by the folder of the images" in note for note in found.notes)


def test_nihs_own_table_has_its_own_command(tmp_path: Path) -> None:
    found = proposal_of(tmp_path, "Image Index,Finding Labels,Patient ID\n00000001_000.png,Mass,1\n")
    assert found.command.startswith("clr-hpc pack nih --images IMAGES --labels ")


def test_what_columns_are_taken_for_is_said(tmp_path: Path) -> None:
    columns = proposal_of(tmp_path, TABLES["rsna"][0]).columns
    assert columns["patientId"] == "image, patient"
    assert columns["x"] == "box, not read"
    assert columns["Target"] == "label target, none of the 14"
    found = proposal_of(tmp_path, TABLES["german"][0])
    assert found.columns["Pneumonie"] == ""
    assert any("nothing names the patient" in note for note in found.notes)


def test_many_names_that_are_none_of_the_14_are_left_out(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,Mass|other {chr(97 + number)}\n" for number in range(12))
    found = proposal_of(tmp_path, "image,labels\n" + rows)
    assert "--other-findings ignore" in found.command
    assert any("12 names in labels are none of the 14" in note for note in found.notes)


def test_the_command_that_inspect_prints_packs_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_images: Callable
) -> None:
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "my films", [f"{number:02}.png" for number in range(8)])
    rows = "".join(f"{number:02}.png;s{number // 2};{number % 2};PA\n" for number in range(8))
    (tmp_path / "my labels.csv").write_text("file;subject;Effusion;view\n" + rows)
    shown = CliRunner().invoke(app, ["inspect", "my labels.csv"])
    assert shown.exit_code == 0, shown.output
    command = shlex.split(shown.output.splitlines()[-1])
    assert command[3:5] == ["--images", "my films"]
    packed = CliRunner().invoke(app, [*command[1:], "--size", "16", "--workers", "1"])
    assert packed.exit_code == 0, packed.output
    assert "8 images of 4 patients" in packed.output
    assert "patients: column subject" in packed.output
