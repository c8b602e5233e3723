"""A run that is done keeps what its study says, and what a run still to be trained starts from."""

import json
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest
import torch
from tiny_run import NETWORK
from trial_study import TrialStudy

import clr_hpc
from clr_hpc.config.base import UserError
from clr_hpc.config.expand import expand
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Keep
from clr_hpc.data.pack import Pack
from clr_hpc.places.disk import size_of_network
from clr_hpc.planning.disk import disk_need
from clr_hpc.store import layout
from clr_hpc.store.atomic import write_json
from clr_hpc.store.results import check_result
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.saver import BaselineError, baseline_tensors
from clr_hpc.training.upkeep import freeable
from clr_hpc.training.upkeep.clean import clean_run
from clr_hpc.training.upkeep.freeable import Kind, find_freeable, optimizer_bytes, size_of
from clr_hpc.training.upkeep.starts import check_starts

CHANGES = {
    "architectures": [NETWORK],
    "optimizers": ["adam"],
    "rates": {"adam": {"lr_min": 0.0001, "lr_max": 0.001}},
    "stages": {
        "baseline": {"policies": ["exponential"]},
        "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}], "optimizer": "continued"},
    },
}


def train(spec: RunSpec, pack: Pack, folder: Path, frees: bool = True) -> None:
    alone = ProcessGroup.alone(torch.device("cpu"))
    assert train_run(spec, pack, folder / spec.name, alone, bool, RunSettings(1e9, frees=frees), "") == "done"


def checkpoints(folder: StudyFolder, spec: RunSpec) -> list[Path]:
    return sorted((folder.runs / spec.name / layout.CHECKPOINTS).glob("*.safetensors"))


@pytest.fixture(scope="module")
def trained(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> StudyFolder:
    """A baseline, its control and its retraining, which continue from its optimizer; nobody changes them."""
    written = TrialStudy.write(tmp_path_factory.mktemp("kept"), pack=str(small_pack.folder), **CHANGES)
    folder = StudyFolder(written.file.parent / "results" / "trial")
    study = load_study(written.file)
    folder.prepare(study, small_pack.folder)
    baseline, *others = expand(study, small_pack.manifest.checksum)
    train(baseline, small_pack, folder.runs)
    (checkpoint,) = checkpoints(folder, baseline)
    assert optimizer_bytes(checkpoint), "others continue from it"
    for spec in others:
        train(spec, small_pack, folder.runs)
    return folder


@pytest.fixture
def copy(trained: StudyFolder, tmp_path: Path) -> StudyFolder:
    """The same, for a test of its own, which replaces files but changes none in place."""
    shutil.copytree(trained.path, tmp_path / "trial", copy_function=os.link)
    return StudyFolder(tmp_path / "trial")


def test_by_default_last_best_and_averaged_weights_stay(trained: StudyFolder, small_pack: Pack) -> None:
    runs = trained.started().runs
    for spec in runs:
        (checkpoint,) = checkpoints(trained, spec)
        assert optimizer_bytes(checkpoint) == 0
        assert (trained.runs / spec.name / layout.BEST).exists()
        assert not list((trained.runs / spec.name / layout.SNAPSHOTS).glob("*"))
    result = check_result(trained.runs / runs[-1].name)
    assert isinstance(result, dict)
    assert result["status"] == "done"
    assert result["models"].keys() == {"last", "snapshots", "swa"}
    assert {model.name for model in clr_hpc.load(trained.path).models} == {"last", "swa"}
    assert find_freeable(trained).runs == ()
    need = disk_need(runs, small_pack.manifest.counts, size_of_network, Keep())
    assert size_of(trained.path) == pytest.approx(need.left, rel=0.1)


def test_weights_that_are_kept_are_those_of_a_run_that_keeps_all(
    trained: StudyFolder, small_pack: Pack, tmp_path: Path
) -> None:
    baseline = trained.started().runs[0]
    train(baseline, small_pack, tmp_path, frees=False)
    alone, in_study = (
        json.loads((runs / baseline.name / layout.RESULT).read_text()) for runs in (tmp_path, trained.runs)
    )
    assert alone["checkpoint_sha256"] == in_study["checkpoint_sha256"]
    assert alone["files"]["best.safetensors"] == in_study["files"]["best.safetensors"]
    assert "weights_sha256" not in alone


def test_where_only_the_best_setting_is_kept_the_others_go_when_it_is_known(
    copy: StudyFolder, small_pack: Pack
) -> None:
    best = clr_hpc.load(copy.path).best("cardiomegaly").models[0].run
    baseline, control, retrained = copy.started().runs
    study = copy.started().study.model_copy(update={"keep": Keep(settings="best", best=False)})
    copy.prepare(study, small_pack.folder)
    aside = (copy.runs / control.name).rename(copy.path / "aside")
    assert baseline.name in find_freeable(copy).needed, "the control still starts from it"
    shutil.rmtree(copy.runs / baseline.name)
    train(baseline, small_pack, copy.runs)
    assert checkpoints(copy, baseline)
    aside.rename(copy.runs / control.name)
    clean_run(copy.runs / control.name, {Kind.BEST})  # as its end does; it may be the best setting
    # its snapshots are gone, so that without predictions it is trained again: the last run to end
    (copy.runs / retrained.name / layout.PREDICTIONS).unlink()
    train(retrained, small_pack, copy.runs)
    assert [spec.name for spec in (baseline, control, retrained) if checkpoints(copy, spec)] == [best]
    assert {model.run for model in clr_hpc.load(copy.path).models} == {best}
    assert find_freeable(copy).runs == ()
    assert copy.remaining(copy.started().runs).runs == (), "runs without weights are done"


def test_the_best_setting_without_weights_beats_none_that_has_them(copy: StudyFolder, small_pack: Pack) -> None:
    """As where seeds are added: the mean over them may be highest for a setting whose first seeds were freed."""
    copy.prepare(copy.started().study.model_copy(update={"keep": Keep(settings="best")}), small_pack.folder)

    def without_last() -> set[str]:
        return {run.folder.name for run in find_freeable(copy).runs if Kind.LAST in run.size}

    (best,) = {spec.name for spec in copy.started().runs} - without_last()
    result = copy.runs / best / layout.RESULT
    write_json(result, json.loads(result.read_text()) | {"weights_freed": ["best", "last", "snapshots", "swa"]})
    assert len(without_last() - {best}) == 1


def test_each_run_is_looked_at_a_few_times_however_many_there_are(
    copy: StudyFolder, small_pack: Pack, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy.prepare(copy.started().study.model_copy(update={"keep": Keep(settings="best")}), small_pack.folder)
    looked: Counter[Path] = Counter()

    def counted(folder: Path, verify: bool = True) -> object:
        looked[folder] += 1
        return check_result(folder, verify)

    monkeypatch.setattr(freeable, "check_result", counted)
    shutil.rmtree(copy.runs / copy.started().runs[-1].name)
    assert find_freeable(copy).needed, "runs that are not done are looked at, too"
    assert max(looked.values()) <= 2


def test_a_run_that_starts_from_weights_that_are_gone_says_what_to_do(copy: StudyFolder) -> None:
    baseline, _, retrained = copy.started().runs
    assert retrained.start is not None
    with pytest.raises(BaselineError, match="freed to save space; delete that folder and run"):
        baseline_tensors(retrained.start, copy.runs)
    clean_run(copy.runs / baseline.name, {Kind.LAST})
    with pytest.raises(BaselineError, match=r"as the study's keep: says; delete .* and run the study again"):
        baseline_tensors(retrained.start, copy.runs)


def test_a_policy_added_when_weights_are_freed_is_told_so_before_it_trains(copy: StudyFolder) -> None:
    started = copy.started()
    baseline, _, retrained = started.runs
    check_starts([baseline], copy)
    with pytest.raises(
        UserError, match=rf"1 run would start from weights of a baseline .*{baseline.name}\. Delete"
    ):
        check_starts([retrained], copy)
    assert retrained.start is not None
    fresh = retrained.model_copy(update={"start": retrained.start.model_copy(update={"optimizer": "fresh"})})
    check_starts([fresh], copy)
    clean_run(copy.runs / baseline.name, {Kind.LAST})
    with pytest.raises(UserError, match="3 runs would start from weights of a baseline that were freed"):
        check_starts([*started.runs, fresh], copy)
    shutil.rmtree(copy.runs / baseline.name)
    check_starts(started.runs, copy)


def test_state_without_the_weights_that_it_belongs_to_is_a_mistake(tmp_path: Path) -> None:
    written = TrialStudy.write(tmp_path / "study", pack="pack", keep={"last": False, "optimizer_state": True})
    with pytest.raises(StudyError, match=r"set keep\.last: true"):
        load_study(written.file)


def test_what_is_kept_is_no_part_of_a_run(tmp_path: Path) -> None:
    plain = load_study(TrialStudy.write(tmp_path / "plain", pack="pack").file)
    sparing = load_study(TrialStudy.write(tmp_path / "sparing", pack="pack", keep={"last": False}).file)
    assert expand(plain, "0" * 64) == expand(sparing, "0" * 64)
