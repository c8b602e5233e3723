import json
from collections.abc import Mapping
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import Result
from numpy.testing import assert_allclose
from PIL import Image
from tiny_run import NETWORK
from trial_study import TrialStudy
from typer.testing import CliRunner

import clr_hpc
from clr_hpc.cli.app import app
from clr_hpc.config import plugins
from clr_hpc.config.base import UserError
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.source import Box, SourceTable
from clr_hpc.data.sources.phantom.source import PhantomSource
from clr_hpc.data.splits import SeededSplit
from clr_hpc.inference import explain as explaining
from clr_hpc.inference.gradcam import enlarge, heat_maps, random_networks, trained_networks
from clr_hpc.inference.localisation import localise, mask_of
from clr_hpc.store.explanations import read_explanations
from clr_hpc.store.records import required

SIDE = 64
HEART = (0.35, 0.5, 0.3, 0.3)
"""Left, top, width and height of the box around each enlarged heart, in shares of the film."""


class PhantomWithBoxes(PhantomSource):
    """The phantom with a box where the heart lies, on each film with an enlarged one, and one of effusion."""

    def table(self) -> SourceTable:
        table = super().table()
        heart = table.findings.index("cardiomegaly")
        boxes = [
            Box(record.image, "cardiomegaly", *HEART) for record in table.records if record.labels[heart] == 1
        ]
        return replace(table, boxes=(*boxes, Box(table.records[0].image, "effusion", 0.1, 0.7, 0.2, 0.2)))


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    folder = tmp_path_factory.mktemp("packs") / "boxes"
    split = SeededSplit(seed=5, validation_fraction=0.3, test_fraction=0.2)
    build_pack(PhantomWithBoxes(images=100), folder, SIDE, split, workers=1)
    return Pack.open(folder)


@pytest.fixture(scope="module")
def results(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study: a classifier of two seeds at 64 pixels, and a one-class model."""
    written = TrialStudy.write(
        tmp_path_factory.mktemp("explain"),
        pack=str(pack.folder),
        architectures=[NETWORK],
        one_class=[
            {"normal": "no_finding", "methods": ["nearest_neighbours", "padim"], "features_of": "cardiomegaly"},
            {"methods": [{"name": "autoencoder", "residual": "ssim", "normalised": True}]},
        ],
        seeds=[0, 1],
        stages={"baseline": {"policies": ["exponential"]}},
        training={"epochs": 1, "image_size": SIDE, "batch_size": 16},
    )
    written.train()
    return written.file.parent / "results" / "trial"


def explain(*words: object) -> Result:
    return CliRunner().invoke(app, ["explain", *map(str, words)])


def test_images_get_pictures_and_arrays(results: Path, pack: Pack, tmp_path: Path) -> None:
    films, output = tmp_path / "films", tmp_path / "maps"
    pixels = pack.gather(pack.rows_of("test")[:2])
    for folder, picture in zip((films, films / "more"), pixels, strict=True):
        folder.mkdir()
        Image.fromarray(picture).save(folder / "one $x$.png")
    (films / "broken.png").write_bytes(b"no image")
    told = explain(results, films, "--output", output)
    assert told.exit_code == 1, told.output
    assert "left out: no_finding-nearest_neighbours: Nearest neighbours scores an image as a whole" in told.output
    assert f"not explained: {films / 'broken.png'}: not an image" in told.output
    written = pd.read_csv(output / "heatmaps.csv")
    table = written[written["finding"] == "cardiomegaly"]
    assert list(table["image"]) == [str(films / "more" / "one $x$.png"), str(films / "one $x$.png")]
    assert list(table["array"]) == ["one_x_.cardiomegaly.npy", "one_x_-2.cardiomegaly.npy"]
    study = clr_hpc.load(results)
    ensemble = study.best("cardiomegaly")
    expected = enlarge(heat_maps(trained_networks(ensemble), ensemble.models[0].spec, pixels[::-1].copy()), SIDE)
    for row, heat in zip(table.itertuples(), expected, strict=True):
        assert_allclose(np.load(output / row.array), heat, atol=1e-5)
        with Image.open(output / row.overlay) as picture:
            assert picture.format == "PNG"
    assert_allclose(table["score"], study.predict([films / "more", films / "one $x$.png"])["cardiomegaly"])
    assert sorted(path.name for path in output.iterdir()) == sorted(
        ["heatmaps.csv", *written["array"], *written["overlay"]]
    ), "nothing temporary is left"
    assert not (results / "explanations.json").exists()


def test_a_classifier_of_a_single_place_leaves_the_others_their_maps(
    results: Path, pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "refusal", lambda *_: "its last feature map is a single place")
    told = explain(results, "--pack", pack.folder, "--split", "test", "--output", tmp_path / "maps")
    assert told.exit_code == 0, told.output
    assert "left out: cardiomegaly: its last feature map is a single place" in told.output
    written = pd.read_csv(tmp_path / "maps" / "heatmaps.csv")
    assert set(written["finding"]) == {"no_finding-autoencoder", "no_finding-padim"}
    asked = explain(results, "--pack", pack.folder, "--finding", "cardiomegaly", "--output", tmp_path / "none")
    assert "error: --finding cardiomegaly: its last feature map is a single place" in asked.output


def test_boxes_are_compared_and_kept_for_the_report(results: Path, pack: Pack, tmp_path: Path) -> None:
    output = tmp_path / "maps"
    words = (
        "--pack",
        pack.folder,
        "--split",
        "test",
        "--with-boxes",
        "--output",
        output,
        "--finding",
        "cardiomegaly",
    )
    told = explain(results, *words)
    assert told.exit_code == 0, told.output
    found = required(read_explanations(results))
    assert found is not None
    assert (found["pack"], found["split"], found["overlap_threshold"]) == (pack.manifest.checksum, "test", 0.5)
    (finding,) = found["findings"]
    assert finding["finding"] == "cardiomegaly"
    assert finding["grid"] == (2, 2)
    ensemble = clr_hpc.load(results).best("cardiomegaly")
    assert finding["runs"] == [model.run for model in ensemble.models]
    rows = pack.rows_of("test")
    rows = rows[pack.labels("cardiomegaly")[rows] == 1]
    assert [image["image"] for image in finding["images"]] == list(pack.index["image"].iloc[rows])
    assert [image["patient"] for image in finding["images"]] == list(pack.index["patient"].iloc[rows])

    spec, mask = ensemble.models[0].spec, mask_of([tuple(side * SIDE for side in HEART)], SIDE)
    heat = enlarge(heat_maps(trained_networks(ensemble), spec, pack.gather(rows)), SIDE)
    random = [
        enlarge(heat_maps(random_networks(ensemble, draw), spec, pack.gather(rows)), SIDE)
        for draw in range(found["random_draws"])
    ]
    for number, image in enumerate(finding["images"]):
        assert image["area"] == mask.mean()
        assert image["trained"]["inside"] == pytest.approx(localise(heat[number], mask).inside, abs=1e-4)
        inside = np.mean([localise(draw[number], mask).inside for draw in random])
        assert image["random"]["inside"] == pytest.approx(inside, abs=1e-4)
    assert len(pd.read_csv(output / "heatmaps.csv")) == len(rows)

    before = {key: value for key, value in found.items() if key != "made"}
    assert explain(results, *words).exit_code == 0
    again = json.loads((results / "explanations.json").read_text())
    assert {key: value for key, value in again.items() if key != "made"} == json.loads(json.dumps(before))


@pytest.mark.parametrize("method", ["padim", "autoencoder"])
def test_one_class_models_show_what_is_unusual(method: str, results: Path, pack: Pack, tmp_path: Path) -> None:
    output = tmp_path / "maps"
    words = [results, "--pack", pack.folder, "--split", "test", "--output", output]
    assert explain(*words, "--finding", f"no_finding-{method}").exit_code == 0
    table = pd.read_csv(output / "heatmaps.csv")
    assert len(table) == len(pack.rows_of("test"))
    heat = np.load(output / table["array"][0])
    assert heat.shape == (SIDE, SIDE)
    assert 0 <= heat.min() < heat.max() <= 1
    assert (output / table["overlay"][0]).exists()


@pytest.mark.parametrize("method", ["padim", "autoencoder"])
def test_what_is_unusual_is_compared_with_all_boxes_and_with_maps_of_other_patients(
    method: str, results: Path, pack: Pack, tmp_path: Path
) -> None:
    output = tmp_path / "maps"
    words = ("--pack", pack.folder, "--with-boxes", "--output", output, "--finding", f"no_finding-{method}")
    told = explain(results, *words)
    assert told.exit_code == 0, told.output
    found = required(read_explanations(results))
    assert found is not None
    (model,) = found["findings"]
    assert (model["finding"], model["rival"]) == (f"no_finding-{method}", "other images")
    images = {image["image"]: image for image in model["images"]}
    boxed = dict(tuple(pack.boxes.groupby("image")))
    assert images.keys() == boxed.keys(), "boxes of every finding"
    heat = {row.image: np.load(output / row.array) for row in pd.read_csv(output / "heatmaps.csv").itertuples()}
    of_patient = {name: image["patient"] for name, image in images.items()}
    for name, image in images.items():
        sides = boxed[name][["left", "top", "width", "height"]].itertuples(index=False, name=None)
        mask = mask_of(sides, SIDE)
        assert image["trained"]["inside"] == pytest.approx(localise(heat[name], mask).inside, abs=1e-4)
        others = [localise(heat[each], mask).inside for each in heat if of_patient[each] != of_patient[name]]
        assert min(others) - 1e-4 <= image["random"]["inside"] <= max(others) + 1e-4


def test_random_networks_have_other_weights(results: Path) -> None:
    ensemble = clr_hpc.load(results).best("cardiomegaly")
    first, second, other = *random_networks(ensemble, 0), random_networks(ensemble, 1)[0]
    weights = [each.backbone.conv_stem.weight for each in (first, second, other, *trained_networks(ensemble))]
    assert len({float(each.detach().sum()) for each in weights}) == 5
    with pytest.raises(UserError, match="this is a one-class model; name a finding"):
        trained_networks(clr_hpc.load(results).best("no_finding-nearest_neighbours"))


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ([], "name image files or folders, or a pack with --pack; one of the two"),
        (["--with-boxes", "."], "--with-boxes needs --pack, since image files have no boxes"),
        (["--pack", "{pack}", "--split", "test", "--with-boxes", "--finding", "no_finding-nearest_neighbours"],
         "of one-class models, PaDiM, PatchCore and autoencoders have maps; name another finding"),
        (
            ["--pack", "{pack}", "--with-boxes", "--finding", "no_finding-nearest_neighbours"],
            "all splits count, those that the networks were trained on too",
        ),
        (["--pack", "{small}", "--with-boxes"], "has no boxes; pack images whose source has them, such as"),
        (["--pack", "{pack}", "--finding", "mass"], "unknown finding of this study's models: 'mass'"),
        ([".", "--output", "{file}"], "is a file, where a folder is meant"),
    ],
)  # fmt: skip
def test_mistakes_are_answered(
    words: list[str], told: str, results: Path, pack: Pack, small_pack: Pack, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    places: Mapping[str, Path] = {"pack": pack.folder, "small": small_pack.folder, "file": tmp_path / "file"}
    said = explain(results, *(word.format(**places) for word in words))
    assert said.exit_code == 2, said.output
    assert told in " ".join(said.output.split())


def test_without_captum_the_command_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error comes before anything is read: there is no study."""
    monkeypatch.setattr(plugins, "find_spec", lambda name: None if name == "captum" else find_spec(name))
    said = explain(tmp_path, tmp_path)
    assert said.exit_code == 2
    assert "clr-hpc explain needs captum, which is not installed; install it: pip install 'clr-hpc[explain]'" in (
        " ".join(said.stderr.split())
    )
