"""The benchmarks work, on the smallest sizes; what they measure is not looked at."""

import importlib
import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from rich.console import Console
from rich.table import Table
from slurm_cluster import need_slurm

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.run import Initialisation
from clr_hpc.config.task import Mahalanobis, Padim
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.embedding import EmbeddingDetector
from clr_hpc.models.one_class.fitted import FittedModel
from clr_hpc.monitoring.status import State, StudyStatus, count
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.scoring import score_runs
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.distributed import ProcessGroup

Load = Callable[[str], ModuleType]
WITH_OPTIONS = [
    "capture",
    "cohort",
    "ddp",
    "dicom",
    "evaluation",
    "gpu",
    "lr_limit",
    "one_class",
    "overhead",
    "pack",
    "paper_grid",
    "plan",
    "scale",
    "step",
    "study",
    "trained_grid",
    "training_accuracy",
    "verdicts",
]


@pytest.fixture(scope="module")
def load(repository: Path) -> Iterator[Load]:
    """Import a script or part as it is imported when scripts run: from the folder that they are in."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repository / "benchmarks")
        before = set(sys.modules)
        yield importlib.import_module
        for name in set(sys.modules) - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file and Path(file).is_relative_to(repository / "benchmarks"):
                del sys.modules[name]


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_help_says_what_is_measured(
    name: str, load: Load, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = load(name)
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    with pytest.raises(SystemExit) as ended:
        script.main()
    assert ended.value.code == 0
    assert script.__doc__.splitlines()[0] in capsys.readouterr().out


def test_steps_of_all_loops_in_memory(load: Load, tmp_path: Path) -> None:
    step, loops = load("step"), load("parts.loops")
    setting = loops.Setting("mobilenet_v1", 32, 4, "float32", torch.device("cpu"))
    pack = load("parts.noise").noise_pack(tmp_path / "pack", 800, setting.size)
    made = step.loops_in_memory(setting, pack, tmp_path, compiled=False)
    seconds = loops.in_turns(made, steps=1, turns=2)
    assert list(seconds) == ["ours", "bare", "timm", "timm, channels last"]
    assert all(len(turns) == 2 and min(turns) > 0 for turns in seconds.values())


def test_goals_of_steps_apply_where_they_were_set(load: Load) -> None:
    step, loops = load("step"), load("parts.loops")
    cpu, cuda = torch.device("cpu"), torch.device("cuda")
    assert step.wanted(loops.Setting("mobilenet_v1", 64, 32, "float32", cpu), "Lightning, over PNG") == "5"
    assert step.wanted(loops.Setting("mobilenet_v1", 224, 32, "float32", cpu), "Lightning, over PNG") == ""
    assert step.wanted(loops.Setting("densenet121", 224, 32, "bfloat16", cuda), "timm") == "1.2"
    assert step.wanted(loops.Setting("alexnet", 224, 32, "float32", cpu), "bare") == "0.97"


def test_costs_of_a_pack(load: Load, tmp_path: Path) -> None:
    scale = load("scale")
    costs = {}
    for part in scale.PARTS.values():
        costs |= part(tmp_path / "pack", 200)
    assert all(cost > 0 for cost in costs.values()), costs
    assert {"packing, MB anonymous", "verifying, s", "a batch's gather, ms", "a step, ms"} < costs.keys()


def test_costs_of_planning(load: Load, tmp_path: Path) -> None:
    scale = load("scale")
    costs = scale.planning_costs(scale.Studies(tmp_path), seeds=5, gpus=2)
    assert all(cost > 0 for cost in costs.values()), costs


@pytest.mark.slow
def test_copies_of_a_trained_seed_count_as_done(load: Load, tmp_path: Path) -> None:
    scale = load("scale")
    studies = scale.Studies(tmp_path)
    costs = scale.command_costs(studies, seeds=1, reports=True)
    assert costs.keys() == {"clr-hpc status, s", "clr-hpc report, s"}
    folder = StudyFolder(tmp_path / "results" / studies.with_folders(4).stem)
    assert count(StudyStatus(folder).read())[State.DONE] == 4 * scale.RUNS_A_SEED


def test_a_drawn_grid_is_read_as_trained_runs_are(load: Load, tmp_path: Path) -> None:
    drawn = load("parts.drawn_grid")
    pack = drawn.drawn_pack(tmp_path / "pack", drawn.DrawnCollection(images=2000, patients=600))
    wave = {"name": "triangular", "half_cycle_epochs": 1}
    stages = {"baseline": {"policies": ["cosine"]}, "retrain": {"policies": [wave]}}
    training = {"epochs": 4, "image_size": 32}
    file = load("parts.command").write_study(tmp_path / "drawn.yaml", pack.folder, training, stages=stages)
    study = load_study(file)
    folder = StudyFolder(tmp_path / "results" / "drawn")
    folder.prepare(study, pack.folder)
    specs = expand(study, pack.manifest.checksum)
    grid = drawn.DrawnGrid(pack, folder.runs)
    for spec in specs:
        grid.write(spec)
    runs = score_runs(read_study(folder.path), np.random.default_rng(0))
    assert [run.record.status for run in runs] == ["done"] * 3
    for run in runs:
        bounds = run.models["last"]["auroc"].interval
        assert bounds is not None
        assert bounds.low - 0.02 < drawn.true_auroc(run.record.spec) < bounds.high + 0.02


@pytest.mark.slow
@pytest.mark.parametrize("place", ["here", pytest.param("slurm", marks=pytest.mark.cluster)])
def test_a_trained_grid_survives_its_kills(place: str, load: Load, tmp_path: Path) -> None:
    if place == "slurm":
        need_slurm()
    small = {"optimizers": ["adam"], "architectures": ["timm/test_resnet"], "one_class": [], "seeds": [0, 1]}
    measured = load("trained_grid").rehearse(tmp_path, 1, place, **small)
    assert (measured["runs"], measured["not done"], measured["done before a kill, trained again"]) == (
        "14",
        "0",
        "0",
    )


def test_what_grows_faster_than_linear_is_named(load: Load) -> None:
    scale = load("scale")
    console = Console(record=True, width=120, file=io.StringIO())
    costs = {size: {"square": size**2, "linear": size, "constant": 1.0} for size in (10, 100)}
    scale.show(console, "growth", "runs", costs)
    text = console.export_text()
    assert "faster than linear: square\n" in text
    assert "2.00" in text


@pytest.mark.slow
def test_gaps_and_memory_of_a_command(load: Load, tmp_path: Path) -> None:
    overhead, noise = load("overhead"), load("parts.noise")
    noise.noise_pack(tmp_path / "pack32", 60, 32)
    watched = overhead.WatchedCommand(overhead.write_study(tmp_path, "many", 32, seeds=[0, 1]))
    assert len(watched.gaps()) == 1
    assert watched.gaps()[0] > 0
    assert watched.step_seconds() > 0
    assert watched.memory.anonymous < watched.worker_memory.anonymous < watched.worker_memory.resident


def test_the_step_of_a_process(load: Load, tmp_path: Path) -> None:
    ddp, noise = load("ddp"), load("parts.noise")
    pack = noise.noise_pack(tmp_path / "pack", 60, 32)
    order = ddp.Order("alone", 0, 1, "mobilenet_v1", 32, batch=8, precision="float32", steps=1, turns=1)
    assert ddp.seconds_a_step(order, pack, ProcessGroup.alone(torch.device("cpu"))) > 0


@pytest.mark.slow
def test_processes_train_together_and_apart(load: Load, tmp_path: Path) -> None:
    ddp, noise = load("ddp"), load("parts.noise")
    pack = noise.noise_pack(tmp_path / "pack", 60, 32)
    processes = ddp.Processes(2, pack.folder)
    common = {"architecture": "mobilenet_v1", "image_size": 32, "precision": "float32", "steps": 1, "turns": 1}
    for together in (True, False):
        assert processes.images_per_second(2, together, 8, **common) > 0
    processes.close()


def test_a_table_of_one_network(load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = load("step")
    options = ["--architectures", "mobilenet_v1", "--sizes", "32", "--batch", "4", "--steps", "1", "--turns", "1"]
    tables: list[Table] = []
    monkeypatch.setattr(step.Console, "print", lambda _, table: tables.append(table))
    monkeypatch.setattr(sys, "argv", ["step", *options, "--originals", str(tmp_path)])
    step.main()
    assert [table.row_count for table in tables] == [4]


def test_drawn_studies_are_judged(load: Load) -> None:
    verdicts, drawn = load("verdicts"), load("parts.drawn_studies")
    generator = np.random.default_rng(0)
    study = drawn.draw(drawn.Design(policies=2, seeds=3, tasks=2, images=200, effects=(0.2,)), generator)
    assert verdicts.against_control(study)[0] == "better"
    assert len(verdicts.ranked(study)) == 2
    one_seed = drawn.draw(drawn.Design(policies=2, seeds=1, tasks=2, images=200, effects=(0.2,)), generator)
    assert verdicts.against_control(one_seed) == ["undecided", "undecided"]
    held = verdicts.coverage(20, 0.75, 2, generator)
    assert {"AUROC", "Sensitivity", "difference of two models"} <= set(held)


def test_only_a_claim_that_is_not_true_is_a_wrong_conclusion(load: Load) -> None:
    is_wrong = load("verdicts").is_wrong
    wrong = {
        (name, effect)
        for name in load("verdicts").VERDICTS
        for effect in (-0.01, 0, 0.01)
        if is_wrong(name, effect)
    }
    assert wrong == {("better", 0), ("better", -0.01), ("worse", 0), ("worse", 0.01)}


@pytest.mark.slow
@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_verdicts_keep_their_promise(shared: float, load: Load) -> None:
    """Of 100 studies in which nothing differs, 5 may have a wrong verdict; 11 or more are very unlikely."""
    verdicts, drawn = load("verdicts"), load("parts.drawn_studies")
    design = drawn.Design(policies=3, seeds=3, shared=shared)
    for judge in (verdicts.against_control, verdicts.ranked):
        assert verdicts.wrong_share(design, 100, judge, np.random.default_rng(1)) < 0.11
    sure = drawn.Design(policies=1, seeds=5, shared=shared, effects=(0.1,))
    assert verdicts.found(sure, 20, np.random.default_rng(2))["better"] >= 0.9


@pytest.mark.slow
def test_intervals_hold_the_truth_as_often_as_they_say(load: Load) -> None:
    """With 30 positive patients, of 200 samples; three standard errors about 95 % are .90 to .99."""
    held = load("verdicts").coverage(30, 0.75, 200, np.random.default_rng(3))
    for kind in ("AUROC", "AUROC, mean of two models", "difference of two models", "Sensitivity"):
        assert 0.90 <= held[kind] <= 0.99, kind


def test_a_box_is_drawn_around_what_a_finding_changes(load: Load) -> None:
    boxed = load("parts.boxed_films")
    difference = np.zeros((64, 64), np.float32)
    difference[16:32, 40:56] = 100  # and what changes everywhere by a little, as the grays do, is no part of it
    left, top, width, height = boxed._around(difference + 1)
    assert (left, top, width, height) == pytest.approx((40 / 64, 16 / 64, 16 / 64, 16 / 64), abs=1 / 64)
    table = boxed.PhantomWithBoxes(images=12).table()
    found = dict.fromkeys((box.image, box.pathology) for box in table.boxes)
    labelled = {
        (record.image, finding): None
        for record in table.records
        for finding, label in zip(table.findings, record.labels, strict=True)
        if label == 1 and finding in boxed.PhantomWithBoxes.wanted
    }
    assert found.keys() == labelled.keys()
    assert len(table.boxes) == len(found) > 4


def test_one_class_fits_to_remembered_maps_are_fits_to_the_network(load: Load) -> None:
    contestants, remembered = load("parts.contestants"), load("parts.remembered")
    strides = contestants.STRIDES

    def reader() -> FittedModel:
        backbone = build_backbone("mobilenet_v1", 1, Initialisation(), seed=0)
        return EmbeddingDetector(backbone, Mahalanobis(strides=strides), 0, is_trained=True)

    images = torch.randn(30, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    patients = np.arange(30)
    films = contestants.Films(patients >= 20, patients, {"mass": patients >= 25})
    network = remembered.remember(reader(), [images], strides)
    found = contestants.fitted(Mahalanobis(strides=strides), network, films, patients[:20], patients, seed=0)[""]
    model = reader()
    model.prepare([images[:20]], patients[:20])
    np.testing.assert_allclose(found.scores, model.scores(model(images), images), rtol=0.02)

    judge = contestants.Judge(films, patients)
    assert judge.auroc([patients.astype(float)], "mass").value == 1
    assert contestants.fitted(Padim(grid=2), network, films, patients[:20], patients, 0).keys() == {
        ", max",
        ", mean",
    }
