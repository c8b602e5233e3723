import io
import json
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import onnxruntime
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from numpy.typing import NDArray
from trial_study import TrialStudy
from typer.testing import CliRunner

import clr_hpc
from clr_hpc.cli.app import app
from clr_hpc.config.run import Normalisation
from clr_hpc.data.augment import prepare
from clr_hpc.data.build import build_pack
from clr_hpc.data.images.gray import fit_square
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.inference.calibration import Calibration
from clr_hpc.inference.export.check import TOLERANCE, MismatchError
from clr_hpc.inference.export.files import FORMATS, FileFormat, export_file
from clr_hpc.inference.export.graph import Calibrate, PortableEnsemble
from clr_hpc.inference.export.square import FitSquare, Prepare
from clr_hpc.inference.study import TrainedStudy

Run = Callable[[NDArray[np.uint8]], dict[str, NDArray[np.float32]]]


def noise(*shape: int) -> NDArray[np.uint8]:
    # few levels, so that many means lie halfway between two
    return (np.random.default_rng(0).integers(0, 8, shape) * 36).astype(np.uint8)


def squares(pixels: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    fitted: NDArray[np.float32] = FitSquare(size)(torch.from_numpy(pixels))[0].numpy()
    return fitted


@given(size=st.integers(8, 40), height=st.integers(1, 160), width=st.integers(1, 160))
@example(size=32, height=32, width=32)
@example(size=32, height=96, width=96)
@example(size=32, height=224, width=224)
@example(size=32, height=64, width=33)
@example(size=40, height=1, width=120)
def test_squares_are_the_same_bytes_as_in_packing(size: int, height: int, width: int) -> None:
    if max(height, width) < size:
        assert not FitSquare(size)(torch.from_numpy(noise(1, height, width)))[1]
        return
    pixels = noise(2, height, width)
    expected = np.stack([fit_square(each, size) for each in pixels])
    if height <= 2 * width:
        assert_array_equal(squares(pixels, size), expected)
    else:  # of which Pillow may shrink the columns first
        assert_allclose(squares(pixels, size), expected, atol=1)


@pytest.mark.parametrize(("size", "image_size"), [(64, 64), (64, 32), (256, 224), (100, 33)])
def test_squares_become_inputs_as_in_training(size: int, image_size: int) -> None:
    pixels, normalisation = torch.from_numpy(noise(2, size, size)), Normalisation()
    expected = prepare(pixels, image_size, normalisation)
    assert_allclose(Prepare(size, image_size, normalisation)(pixels.float()), expected, atol=2e-6)


@pytest.mark.parametrize(
    "calibration",
    [
        Calibration("logistic", np.array([0.7, -1.2]), np.empty(0)),
        Calibration("isotonic", np.array([-3, -1, 0.5, 0.5001, 4]), np.array([0.1, 0.2, 0.2, 0.7, 0.9])),
    ],
)
def test_probabilities_are_those_of_the_calibration(calibration: Calibration) -> None:
    scores = np.concatenate([np.linspace(0, 1, 1001), [0.62, 0.6225]]).astype(np.float32)
    calibrate, given_scores = Calibrate(calibration), torch.from_numpy(scores)
    assert_allclose(calibrate(given_scores), calibration(scores), atol=1e-7)
    written = io.BytesIO()
    torch.export.save(torch.export.export(calibrate, (given_scores,)), written)
    again = torch.export.load(io.BytesIO(written.getvalue())).module()
    assert_allclose(again(given_scores), calibration(scores), atol=1e-7)


@pytest.fixture(scope="module", params=list(FORMATS))
def exported(request: pytest.FixtureRequest, study: TrialStudy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of each format that the command writes."""
    folder = tmp_path_factory.mktemp("exported")
    results = str(study.file.parent / "results" / "trial")
    said = CliRunner().invoke(app, ["export", results, "--format", request.param, "--output", str(folder)])
    assert said.exit_code == 0, said.output
    assert "scores of 60 validation images differ by at most" in said.output
    (file,) = folder.iterdir()  # the one-class task is not in it
    assert file.name == f"cardiomegaly{FORMATS[request.param].suffix}"
    return file


def run_alone(file: Path) -> tuple[Run, str]:
    """Return what runs a file with nothing of this package, and its facts."""
    if file.suffix == ".onnx":
        session = onnxruntime.InferenceSession(file)
        names = [output.name for output in session.get_outputs()]
        facts = session.get_modelmeta().custom_metadata_map["clr_hpc"]
        return lambda pixels: dict(zip(names, session.run(None, {"pixels": pixels}), strict=True)), facts
    held = {"clr_hpc.json": ""}
    module = torch.export.load(file, extra_files=held).module()
    names = json.loads(held["clr_hpc.json"])["outputs"]

    def scores(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        found = module(torch.from_numpy(pixels))
        return {name: each.detach().numpy() for name, each in zip(names, found, strict=True)}

    return scores, held["clr_hpc.json"]


def test_a_file_alone_scores_images_of_any_size_as_the_study_does(
    exported: Path, trained: TrainedStudy, small_pack: Pack
) -> None:
    run, facts = run_alone(exported)
    films = small_pack.gather(small_pack.rows_of("test")[:3])
    for pixels in (films, films[:1], films.repeat(2, axis=1).repeat(2, axis=2), films.repeat(5, axis=2)[:, :50]):
        expected = trained.predict(list(pixels))
        found = run(np.ascontiguousarray(pixels))
        assert_allclose(found["score"], expected["cardiomegaly"], atol=1e-5)
        assert_allclose(found["calibrated"], expected["cardiomegaly_calibrated"], atol=1e-5)
    assert np.isnan(run(films[:, :40, :40])["score"]).all()
    best = trained.best("cardiomegaly")
    assert json.loads(facts) == {
        "format_version": 1,
        "finding": "cardiomegaly",
        "runs": [model.title for model in best.models],
        "outputs": ["score", "calibrated"],
        "smallest_longer_side": 64,
        "threshold": best.threshold,
    }


def test_a_file_says_nothing_of_the_machine_that_made_it(exported: Path, repository: Path) -> None:
    contents = [exported.read_bytes()]
    if exported.suffix == ".pt2":
        with ZipFile(exported) as archive:
            contents = [archive.read(name) for name in archive.namelist()]
    for private in (str(repository), "site-packages", str(Path.home()), str(exported.parent)):
        assert not any(private.encode() in content for content in contents)


def test_a_file_whose_scores_are_others_is_not_written(
    trained: TrainedStudy, small_pack: Pack, tmp_path: Path
) -> None:
    def coin(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        return dict.fromkeys(("score", "calibrated"), np.full(len(pixels), 0.5, np.float32))

    def write_facts(_: PortableEnsemble, facts: str, file: Path) -> None:
        file.write_text(facts)

    file = tmp_path / "cardiomegaly.pt2"
    wrong = FileFormat(".pt2", write_facts, lambda _: coin)
    with pytest.raises(
        MismatchError, match=r"was not written: .* differ by up to 0\.\d+ from .* 0\.0001 is allowed"
    ):
        export_file(trained.best("cardiomegaly"), small_pack, file, wrong)
    assert list(tmp_path.iterdir()) == []


def test_mistakes_are_answered_before_anything_is_written(
    study: TrialStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    other = tmp_path / "other"
    build_pack(PhantomSource(images=20), other, 64, workers=1)
    for words, answer in (
        (["--finding", "mass"], "unknown finding of this study's models: 'mass'; known are cardiomegaly"),
        (["--finding", "no_finding-nearest_neighbours"], "is a one-class task, and ONNX and torch files hold"),
        (["--pack", "nowhere"], "nowhere is not a pack: there is no such folder"),
        (["--pack", str(other)], f"{other} is not the pack that this study was trained on"),
        (["--output", str(study.file)], "is a file, where a folder is meant"),
    ):
        results = str(study.file.parent / "results" / "trial")
        said = CliRunner().invoke(app, ["export", results, "--format", "torch", *words])
        assert said.exit_code == 2, said.output
        assert answer in " ".join(said.output.split())
    assert not list(tmp_path.rglob("*.pt2"))


@pytest.mark.slow
def test_three_networks_as_onnx(small_pack: Pack, tmp_path: Path) -> None:
    networks = ["mobilenet_v1", "alexnet", "densenet121"]
    study = TrialStudy.write(
        tmp_path,
        pack=str(small_pack.folder),
        architectures=networks,
        stages={"scratch": {"policies": ["constant"]}},
        training={"epochs": 1, "image_size": 64, "batch_size": 16},
    )
    assert study.run().returncode == 0
    settings = clr_hpc.load(tmp_path / "results" / "trial").settings
    assert [setting.models[0].spec.architecture for setting in settings] == networks
    pixels = small_pack.gather(np.arange(200))
    for setting in settings:
        file = tmp_path / "network.onnx"
        export_file(setting, small_pack, file, FORMATS["onnx"])
        run, _ = run_alone(file)
        for batch in (1, 64):
            parts = [run(pixels[first : first + batch])["score"] for first in range(0, len(pixels), batch)]
            assert_allclose(np.concatenate(parts), setting.member_scores(pixels)[0], atol=TOLERANCE)
