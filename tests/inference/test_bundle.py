import json
import re
from pathlib import Path
from zipfile import ZipFile

import pandas as pd
import pytest
from PIL import Image
from trial_study import TrialStudy
from typer.testing import CliRunner

import clr_hpc
from clr_hpc.cli.app import app
from clr_hpc.config.base import UserError
from clr_hpc.data.pack import Pack
from clr_hpc.inference.ensemble import NoScoresError
from clr_hpc.inference.model import NoWeightsError
from clr_hpc.inference.study import TrainedStudy
from clr_hpc.store.records import DamagedError

SECTIONS = [
    "Model details", "Intended use", "Factors", "Metrics", "Evaluation data", "Training data",
    "Quantitative analyses", "Ethical considerations", "Caveats and recommendations",
]  # fmt: skip
"""Of Mitchell et al. 2019, doi:10.1145/3287560.3287596, in their order."""


@pytest.fixture(scope="module")
def exported(study: TrialStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a bundle of each form, as the command writes them."""
    target = tmp_path_factory.mktemp("exported")
    results = str(study.file.parent / "results" / "trial")
    for name in ("bundle", "bundle.zip"):
        words = ["export", results, "--format", "bundle", "--output", str(target / name)]
        said = CliRunner().invoke(app, words)
        assert said.exit_code == 0, said.output
    assert sorted(path.name for path in target.iterdir()) == ["bundle", "bundle.zip"]
    return target


@pytest.fixture(params=["bundle", "bundle.zip"])
def bundle(request: pytest.FixtureRequest, exported: Path) -> Path:
    found: Path = exported / request.param
    return found


@pytest.fixture
def folder(exported: Path) -> Path:
    return exported / "bundle"


def test_a_bundle_scores_as_the_study_does(bundle: Path, trained: TrainedStudy, small_pack: Pack) -> None:
    loaded = clr_hpc.load(bundle)
    assert loaded.findings == trained.findings
    assert loaded.reading == trained.reading
    pd.testing.assert_frame_equal(
        loaded.predict(small_pack, split="test"), trained.predict(small_pack, split="test")
    )
    best, same = trained.best("cardiomegaly"), loaded.best("cardiomegaly")
    assert [model.title for model in same.models] == [model.title for model in best.models]
    assert same.validation_auroc == best.validation_auroc
    with pytest.raises(NoScoresError, match="is a bundle, which has no scores of test images; name the study's"):
        same.known_rows("test")


def test_the_command_needs_nothing_but_the_bundle(
    bundle: Path, study: TrialStudy, small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(small_pack.gather(small_pack.rows_of("test")[:1])[0]).save(tmp_path / "film.png")
    moved = [(path, tmp_path / path.name) for path in (study.file.parent, small_pack.folder, bundle)]
    monkeypatch.chdir(tmp_path)
    try:
        for before, after in moved:
            before.rename(after)
        said = CliRunner().invoke(app, ["predict", bundle.name, "film.png"])
    finally:
        for before, after in moved:
            after.rename(before)
    assert said.exit_code == 0, said.output
    assert pd.read_csv("scores.csv")["cardiomegaly"].notna().all()
    said = CliRunner().invoke(app, ["predict", str(bundle), "film.png", "--results", "there"])
    assert said.exit_code == 2
    assert "--results belongs to a study file" in " ".join(said.output.split())


def test_a_bundle_says_nothing_of_machine_and_patients(folder: Path, study: TrialStudy, small_pack: Pack) -> None:
    texts = [(folder / name).read_text() for name in ("bundle.json", "README.md")]
    patients = small_pack.index["patient"].unique().tolist()
    for private in (str(study.file.parent), str(small_pack.folder), str(Path.home()), *patients):
        assert not any(private in text for text in texts), private


def test_the_card_has_every_section_and_recorded_numbers(folder: Path, trained: TrainedStudy) -> None:
    card = (folder / "README.md").read_text()
    assert re.findall(r"^## (.+)$", card, flags=re.MULTILINE) == SECTIONS
    assert "Not a medical device" in card
    best = trained.best("cardiomegaly")
    rows = best.known_rows("test")
    cells = [line.strip("| ").split(" | ") for line in card.splitlines() if line.startswith("| cardiomegaly")]
    splits, measured = cells[1], cells[2]
    counts = json.loads((folder / "bundle.json").read_text())["pack"]["counts"]["splits"]
    known = [split["labels"]["cardiomegaly"] for split in counts.values()]
    assert splits[1:] == [f"{each['positive']} of {each['positive'] + each['negative']}" for each in known]
    assert measured[1:4] == [str(len(rows)), str(int(rows["label"].sum())), str(rows["patient"].nunique())]
    assert measured[6] == f"{best.threshold:.3f}"
    called = rows["score"] >= best.threshold
    specificity = (~called[rows["label"] == 0]).mean()
    assert re.fullmatch(rf"{specificity:.3f} \(\d\.\d+ to \d\.\d+\)", measured[8])
    tables = re.findall(r"(?:^\|.*\n)+", card, flags=re.MULTILINE)
    assert len(tables) >= 6
    for table in tables:
        assert len({line.count("|") for line in table.splitlines()}) == 1, table


@pytest.mark.parametrize("name", ["bundle.json", "weights/cardiomegaly.seed0.0.safetensors"])
def test_damage_is_named(name: str, folder: Path, small_pack: Pack) -> None:
    content = (folder / name).read_bytes()
    try:
        (folder / name).write_bytes(content.replace(b"0", b"1", 1))
        with pytest.raises((NoWeightsError, DamagedError), match=re.escape(str(folder / name))):
            clr_hpc.load(folder).predict(small_pack, split="test")
        (folder / name).unlink()
        with pytest.raises(UserError, match=r"no study was started here|is missing"):
            clr_hpc.load(folder).predict(small_pack, split="test")
    finally:
        (folder / name).write_bytes(content)


def test_what_is_no_bundle_is_named(tmp_path: Path) -> None:
    with ZipFile(tmp_path / "other.zip", "w"):
        pass
    for name, reason in (("absent", "there is no such file"), ("other", "it has no bundle.json")):
        with pytest.raises(
            UserError, match=rf"{name}\.zip: no bundle, {reason}; 'clr-hpc export --format bundle'"
        ):
            clr_hpc.load(tmp_path / f"{name}.zip")


def test_a_folder_that_is_there_is_kept(folder: Path, study: TrialStudy) -> None:
    before = (folder / "bundle.json").stat().st_mtime_ns
    results = str(study.file.parent / "results" / "trial")
    said = CliRunner().invoke(app, ["export", results, "--format", "bundle", "--output", str(folder)])
    assert said.exit_code == 2
    assert "is there already; remove it, or give another --output" in " ".join(said.output.split())
    assert (folder / "bundle.json").stat().st_mtime_ns == before
