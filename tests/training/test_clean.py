"""Cleaning frees what nothing reads any more; killed at any moment, it leaves runs that are done and readable."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tiny_run import NETWORK
from trial_study import TrialStudy
from typer.testing import CliRunner

import clr_hpc
from clr_hpc.cli.app import app
from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Keep
from clr_hpc.data.pack import Pack
from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json
from clr_hpc.store.results import check_result
from clr_hpc.store.run_folder import RunFolder, RunInUseError
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.checkpoint import DamagedCheckpointError
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.saver import BaselineError, baseline_tensors
from clr_hpc.training.upkeep.clean import clean_run, load_last
from clr_hpc.training.upkeep.freeable import (
    LEFTOVERS,
    Kind,
    find_freeable,
    last_checkpoint,
    optimizer_bytes,
    size_of,
)

STATE = LEFTOVERS | {Kind.OPTIMIZER_STATE}
SNAPSHOTS = STATE | {Kind.SNAPSHOTS}
WITH_SNAPSHOTS = Keep(snapshots=True)
CHANGES = {
    "architectures": [NETWORK],
    "optimizers": ["adam"],
    "rates": {"adam": {"lr_min": 0.0001, "lr_max": 0.001}},
    "stages": {
        "baseline": {"policies": ["exponential"]},
        "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}]},
    },
}
KILLED_EVERYWHERE = """
import os, shutil, sys
from pathlib import Path
from clr_hpc.training.upkeep.freeable import Kind
from clr_hpc.training.upkeep.clean import clean_run

def kill_before(number):
    seen = 0
    def count(event, args):
        nonlocal seen
        writes = event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.remove", "os.link"):
            seen += 1
            if seen == number:
                os._exit(9)
    sys.addaudithook(count)

original, copies = map(Path, sys.argv[1:])
for number in range(1, 1000):
    copy = copies / str(number) / original.name
    shutil.copytree(original, copy, copy_function=os.link)  # files are replaced, never changed
    child = os.fork()
    if child == 0:
        kill_before(number)
        clean_run(copy, frozenset({Kind.OPTIMIZER_STATE, Kind.SNAPSHOTS}))
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
        break
"""


@pytest.fixture(scope="module")
def trained(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A baseline, its control and its retraining, with several snapshots; nobody changes it."""
    written = TrialStudy.write(tmp_path_factory.mktemp("trained"), pack=str(small_pack.folder), **CHANGES)
    folder = StudyFolder(written.file.parent / "results" / "trial")
    study = load_study(written.file)
    folder.prepare(study, small_pack.folder)
    for spec in expand(study, small_pack.manifest.checksum):
        assert train(spec, small_pack, folder) == "done"
    return folder


@pytest.fixture
def copy(trained: StudyFolder, tmp_path: Path) -> StudyFolder:
    """The same, for a test of its own, which replaces files but changes none in place."""
    shutil.copytree(trained.path, tmp_path / "trial", copy_function=os.link)
    return StudyFolder(tmp_path / "trial")


def train(spec: RunSpec, pack: Pack, folder: StudyFolder) -> str:
    alone = ProcessGroup.alone(torch.device("cpu"))
    return train_run(spec, pack, folder.runs / spec.name, alone, bool, RunSettings(1e9), "")


def specs(folder: StudyFolder) -> tuple[RunSpec, RunSpec]:
    """Return the baseline and the retraining."""
    baseline, retrained = (spec for spec in folder.started().runs if spec.stage != "control")
    return baseline, retrained


def clean(folder: StudyFolder, keep: Keep = WITH_SNAPSHOTS) -> None:
    for run in find_freeable(folder, keep).runs:
        clean_run(run.folder, run.kinds)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    result = check_result(folder)
    assert isinstance(result, dict)
    assert result["status"] == "done"
    tensors = load_last(folder, result)
    return {name: tensor for name, tensor in tensors.items() if name.startswith("model.")}


def assert_same(found: dict[str, torch.Tensor], wanted: dict[str, torch.Tensor]) -> None:
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)


@pytest.mark.commands
def test_a_clean_that_is_killed_anywhere_leaves_a_done_run_and_can_be_repeated(
    trained: StudyFolder, tmp_path: Path
) -> None:
    original = trained.runs / specs(trained)[1].name
    environment = os.environ | {"PYTHONWARNINGS": "ignore"}
    subprocess.run(
        [sys.executable, "-c", KILLED_EVERYWHERE, str(original), str(tmp_path)], check=True, env=environment
    )
    copies = sorted(tmp_path.iterdir(), key=lambda path: int(path.name))
    assert len(copies) > 10
    wanted, ends = weights(original), set()
    for one in copies:
        folder = one / original.name
        assert_same(weights(folder), wanted)
        assert RunFolder(folder).is_done
        clean_run(folder, SNAPSHOTS)
        assert_same(weights(folder), wanted)
        checksums = subprocess.run(
            [
                "sha256sum",
                "--check",
                "--quiet",
                *[path.name for path in (folder / "checkpoints").glob("*.sha256")],
            ],
            cwd=folder / "checkpoints",
            check=False,
        )
        assert checksums.returncode == 0
        ends.add(
            tuple((p.relative_to(folder), p.stat().st_size) for p in sorted(folder.rglob("*")) if p.is_file())
        )
    assert len(ends) == 1


def test_what_is_freed_is_what_was_shown_and_nothing_is_left_to_free(copy: StudyFolder) -> None:
    paths = [copy.runs / spec.name for spec in specs(copy)]
    wanted = [weights(path) for path in paths]
    written = [json.loads((path / layout.RESULT).read_text())["checkpoint_sha256"] for path in paths]
    found, before = find_freeable(copy, WITH_SNAPSHOTS), size_of(copy.path)
    shown = found.size(Kind.OPTIMIZER_STATE)
    assert shown > before / 3
    clean(copy)
    assert size_of(copy.path) == pytest.approx(before - shown, rel=0.01)
    assert find_freeable(copy, WITH_SNAPSHOTS).runs == ()
    for path, tensors, checksum in zip(paths, wanted, written, strict=True):
        assert_same(weights(path), tensors)
        assert json.loads((path / layout.RESULT).read_text())["checkpoint_sha256"] == checksum


def test_lost_predictions_come_back_from_a_cleaned_checkpoint(copy: StudyFolder, small_pack: Pack) -> None:
    clean(copy)
    retrained = specs(copy)[1]
    predictions = copy.runs / retrained.name / layout.PREDICTIONS
    wanted = predictions.read_bytes()
    predictions.unlink()
    metrics = (copy.runs / retrained.name / layout.METRICS).read_text()
    assert train(retrained, small_pack, copy) == "done"
    assert predictions.read_bytes() == wanted
    assert (copy.runs / retrained.name / layout.METRICS).read_text() == metrics, "no step was taken again"


def test_freed_snapshots_are_left_out_and_come_back_by_training_alone(
    copy: StudyFolder, small_pack: Pack, caplog: pytest.LogCaptureFixture
) -> None:
    retrained = specs(copy)[1]
    path = copy.runs / retrained.name
    clean(copy)
    assert len(list((path / layout.SNAPSHOTS).glob("*.safetensors"))) == 2, "only --snapshots frees them"
    assert {model.name for model in clr_hpc.load(copy.path).models} == {"last", "snapshots", "swa"}
    result = json.loads((path / layout.RESULT).read_text())
    result["models"]["snapshots"]["validation"]["auroc"] = 1.0  # or it depends on torch's version which is best
    write_json(path / layout.RESULT, result)
    clean(copy, Keep())
    assert {model.name for model in clr_hpc.load(copy.path).models} == {"last", "swa"}
    assert "is better on validation" in caplog.text, "or nobody sees that the best model is gone"
    (path / layout.PREDICTIONS).unlink()
    assert train(retrained, small_pack, copy) == "done"
    assert {model.name for model in clr_hpc.load(copy.path).models} == {"last", "snapshots", "swa"}


def test_a_baseline_keeps_its_state_until_the_runs_that_start_from_it_are_done(copy: StudyFolder) -> None:
    baseline, retrained = specs(copy)
    shutil.rmtree(copy.runs / retrained.name)
    found = find_freeable(copy)
    assert copy.runs / baseline.name not in [run.folder for run in found.runs]
    assert found.needed == (baseline.name,)
    clean_run(copy.runs / baseline.name, STATE)  # as if the retraining were added to the study later
    assert retrained.start is not None
    assert baseline_tensors(retrained.start, copy.runs)
    continued = retrained.start.model_copy(update={"optimizer": "continued"})
    with pytest.raises(BaselineError, match="which was freed to save space; delete that folder and run"):
        baseline_tensors(continued, copy.runs)


def test_a_run_in_use_a_damaged_checkpoint_and_links_are_left_alone(copy: StudyFolder, tmp_path: Path) -> None:
    baseline, retrained = (copy.runs / spec.name for spec in specs(copy))
    with RunFolder(baseline).hold("lane 1"), pytest.raises(RunInUseError):
        clean_run(baseline, STATE)
    result = check_result(baseline)
    assert isinstance(result, dict)
    assert result["status"] == "done"
    file = last_checkpoint(baseline, result)
    damaged = file.read_bytes()[:-1] + b"!"
    file.unlink()
    file.write_bytes(damaged)
    with pytest.raises(DamagedCheckpointError):
        clean_run(baseline, STATE)
    assert file.read_bytes() == damaged

    elsewhere = tmp_path / "elsewhere"
    for name in (layout.CHECKPOINTS, layout.SNAPSHOTS):
        (retrained / name).rename(elsewhere.with_name(name))
        (retrained / name).symlink_to(elsewhere.with_name(name))
    there = {
        path: path.read_bytes() for name in ("checkpoints", "snapshots") for path in (tmp_path / name).iterdir()
    }
    assert retrained not in [run.folder for run in find_freeable(copy, Keep()).runs]
    clean_run(retrained, SNAPSHOTS)
    assert {path: path.read_bytes() for path in there} == there


def test_the_command_shows_then_frees(copy: StudyFolder) -> None:
    shutil.copytree(copy.path, copy.path.with_name("trial.replaced-1"))
    (copy.runs / "another run").mkdir()
    temporary = copy.runs / specs(copy)[0].name / layout.CHECKPOINTS / ".x.safetensors.1.temporary"
    temporary.write_bytes(b"0" * 1000)
    invoke("report", str(copy.path), "--figures", "none")
    cache = copy.path / layout.REPORT_CACHE
    (cache / "mine.txt").write_text("not the report's")
    kept = {path.name for path in (copy.path / layout.REPORT).iterdir()}
    before = size_of(copy.path)
    shown = invoke("clean", str(copy.path))
    assert "optimizer state" in shown
    assert "temporary files" in shown
    assert "scores of the last report" in shown
    assert "trial.replaced-1" in shown
    assert "another run" in shown
    assert "free it: " in shown
    assert size_of(copy.path) == before
    assert "freed " in invoke("clean", str(copy.path), "--yes")
    (log,) = (copy.path / layout.LOGS).glob("*-clean-*.log")
    assert "can be freed" in log.read_text(), "what was shown is in the log"
    assert size_of(copy.path) < before * 0.7
    assert not temporary.exists()
    assert [path.name for path in cache.iterdir()] == ["mine.txt"]
    assert {path.name for path in (copy.path / layout.REPORT).iterdir()} == kept
    assert optimizer_bytes(next((copy.runs / specs(copy)[0].name / layout.CHECKPOINTS).glob("*.safetensors"))) == 0
    assert "nothing can be freed" in invoke("clean", str(copy.path), "--yes")
    assert "report: " in invoke("report", str(copy.path), "--figures", "none")
    *_, log = sorted((copy.path / layout.LOGS).glob("*-report-*.log"))
    assert "report: " in log.read_text()


def invoke(*words: str) -> str:
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    return done.output
