"""Mistakes of a new user: each is answered with value, rule and remedy before anything is started or written."""

import gzip
import multiprocessing.process
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from trial_study import STUDY, TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.cli.train import next_step
from clr_hpc.data.manifest import LabelCounts, Manifest
from clr_hpc.data.pack import Pack
from clr_hpc.store.results import would_fail_again


class Mistake(NamedTuple):
    """What somebody types, and what the answer has to hold: the value, the rule, the remedy."""

    typed: str
    told: tuple[str, ...]
    absent: str | None = None
    """A package that is not installed."""
    commands: Mapping[str, str] = {}
    """Commands of SLURM that are installed, and what they do."""


def mistake(typed: str, *told: str, **more: Any) -> Mistake:
    return Mistake(typed, told, **more)


RUN = "run study.yaml"
PACK = "pack table --images images --labels labels.csv --image-column image --image-is-patient --output new"
NO_PATIENT = PACK.replace("--image-is-patient ", "")
BASELINE = "--set 'stages={baseline: {policies: [exponential]}}'"
FEATURES, OF = "features: {network: mobilenet_v1", "features_of: cardiomegaly"
SITE = "run study.yaml --on slurm --site"
SINFO = "echo 'batch*|8|64000|(null)'; echo 'batch*|16|64000|gpu:a100:4(S:0-1)'; echo 'big|64|9|(null)'"
SLURM = {"commands": {"sbatch": "exit 1", "sinfo": SINFO}}
SILENT = {"commands": {"sbatch": "exit 1", "sinfo": "echo no controller >&2; exit 1"}}

MISTAKES = {
    # the study file
    "wrong path": mistake("run nowhere.yaml", "nowhere.yaml", "no such study file", "clr-hpc studies lists"),
    "folder given": mistake("run folder", "folder", "it is a folder, not a file", "name a study file"),
    "pack given for a study": mistake("run pack", "pack", "it is a pack, not a file", "name a study file"),
    "folder of a study given": mistake(
        "run old", "old", "it is a study's folder", "name its file, old/study.yaml"
    ),
    "not UTF-8": mistake(
        "run latin.yaml", "latin.yaml", "not UTF-8: byte 0xf6 in line 1", "save the file as UTF-8"
    ),
    "pipe": mistake("run pipe", "pipe", "it is a pipe or a device, not a file", "name a file"),
    "name too long": mistake(f"run {'x' * 300}", "xxx", "the name is too long", "shorten it"),
    "no YAML": mistake("run tab.yaml", "tab.yaml", "not YAML: line 2, column 1"),
    "key twice": mistake("run twice.yaml", "twice.yaml", "'name' is there twice, in lines 1 and 2", "drop one"),
    "no mapping": mistake("run list.yaml", "list.yaml", "a study is a mapping of keys", "clr-hpc studies lists"),
    "misspelt key": mistake("run misspelt.yaml", "'epoch'", "unknown key of training", "did you mean 'epochs'?"),
    "misspelt key of a stage": mistake(
        f"{RUN} --set stages.scratch.policy=step", "unknown key of stage of study: 'policy'", "mean 'policies'?"
    ),
    "wrong type": mistake("run type.yaml", "training.epochs", "a valid integer", "it is 'two'"),
    "key missing": mistake("run missing.yaml", "missing.yaml", "rates: Field required"),
    # its values
    "negative epochs": mistake(f"{RUN} --set epochs=-1", "training.epochs", "greater than 0", "it is -1"),
    "no seeds": mistake(f"{RUN} --set seeds=[]", "seeds is empty", "name at least one"),
    "seed twice": mistake(f"{RUN} --set seeds=[1,1]", "seeds has 1 twice", "drop one"),
    "unknown pathology": mistake(
        f"{RUN} --set pathologies=[cardiomegally]", "cardiomegally", "unknown", "did you mean 'cardiomegaly'?"
    ),
    "unknown policy": mistake(
        f"{RUN} --set stages.scratch.policies=[triangle]", "'triangle'", "unknown", "did you mean 'triangular'?"
    ),
    "unknown optimizer": mistake(f"{RUN} --set optimizers=[sdg]", "'sdg'", "unknown", "did you mean 'sgd'?"),
    "unknown architecture": mistake(
        f"{RUN} --set architectures=[mobilenet_v2]", "'mobilenet_v2'", "unknown", "did you mean 'mobilenet_v1'?"
    ),
    "rates reversed": mistake(
        f"{RUN} --set rates.sgd.lr_min=0.5", "lr_max=0.01", "must be above lr_min=0.5", "raise lr_max or lower"
    ),
    "no rate": mistake(f"{RUN} --set optimizers=[adam]", "no rate for adam", "add rates: {adam: ...}"),
    "name of ours": mistake(f"{RUN} --set name=rates", "name: rates", "a folder of its own", "take another"),
    "name with a slash": mistake(f"{RUN} --set name=a/b", "'a/b'", "letters, digits, _ and -", "such as a-b"),
    "image too small": mistake(
        f"{RUN} --set image_size=8", "image_size=8", "too small for mobilenet_v1", "raise it to 32"
    ),
    # its pack
    "no pack": mistake(f"{RUN} --set pack=nowhere", "nowhere", "there is no such folder", "clr-hpc pack"),
    "pack is no pack": mistake(f"{RUN} --set pack=folder", "folder", "has no manifest.json", "clr-hpc pack"),
    "study given for a pack": mistake(
        f"{RUN} --set pack=study.yaml", "study.yaml", "is not a pack, but a file", "name the folder"
    ),
    "image above the pack's": mistake(
        f"{RUN} --set image_size=96", "image_size=96", "larger than the pack's 64 pixels", "lower image_size"
    ),
    "pathology without images": mistake(
        f"{RUN} --set pack=poor", "no training image with cardiomegaly", "leave this pathology out"
    ),
    "misspelt network of timm": mistake(
        f"{RUN} --set architectures=[timm/resnett18]", "timm/resnett18", "did you mean timm/resnet18"
    ),
    "image size that a network of timm refuses": mistake(
        f"{RUN} --set architectures=[timm/vit_tiny_patch16_224]",
        "timm/vit_tiny_patch16_224 can't be trained with image_size=32",
        "doesn't match model (224)",
        "give another image_size",
    ),
    "batch of one for a network of timm": mistake(
        f"{RUN} --set architectures=[timm/resnet18] --set batch_size=1",
        "timm/resnet18 can't be trained with image_size=32",
        "Expected more than 1 value",
    ),
    "batch of one": mistake(
        f"{RUN} --set batch_size=1", "batch_size=1", "needs two images", "raise batch_size to 2"
    ),
    "weights missing": mistake(
        f"{RUN} --set 'training.initialisation={{weights: imagenet, file: weights.pt}}'",
        *("training.initialisation.file=weights.pt", "there is no such file", "check the path"),
    ),
    "weights that are none": mistake(
        f"{RUN} --set 'training.initialisation={{weights: imagenet, file: study.yaml}}'",
        *("training.initialisation.file: study.yaml: not a readable state dict",),
    ),
    "features without their weights": mistake(
        f"{RUN} --set 'one_class=[{{methods: [padim], {FEATURES}, weights: w.pt}}}}]'",
        *("features.weights=w.pt", "there is no such file", "check the path"),
    ),
    "features of weights that are none": mistake(
        f"{RUN} --set 'one_class=[{{methods: [padim], {FEATURES}, weights: study.yaml}}}}]'",
        *("features.weights: study.yaml: not a readable state dict",),
    ),
    "features at a stride that the network lacks": mistake(
        f"{RUN} {BASELINE} --set architectures=[timm/test_convnext] "
        f"--set 'one_class=[{{methods: [{{name: padim, strides: [2, 4]}}], {OF}}}]'",
        *(
            "no_finding-padim with timm/test_convnext",
            "no feature map of stride 2",
            "set strides to some of these",
        ),
    ),
    "misspelt detector of PyOD": mistake(
        f"{RUN} {BASELINE} --set 'one_class=[{{methods: [pyod/ECODD], {OF}}}]'",
        *("unknown detector of PyOD: 'ECODD'", "did you mean 'ECOD'?"),
    ),
    # overrides
    "override misspelt": mistake(f"{RUN} --set epoch=2", "--set epoch=2", "unknown key", "did you mean 'epochs'?"),
    "override without a value": mistake(
        f"{RUN} --set epochs", "--set epochs", "must be key=value", "batch_size=8"
    ),
    "override of nothing": mistake(
        f"{RUN} --set range_test.epochs=3", "range_test.epochs=3", "changes nothing", "take clr-hpc range-test"
    ),
    # places
    "wrong place": mistake(f"{RUN} --on moon", "--on moon", "unknown place", "known are here, ray, slurm"),
    "option of another place": mistake(
        f"{RUN} --lanes 2", "--lanes 2", "--on here does not take it", "leave it out"
    ),
    "side by side in lanes": mistake(
        f"{RUN} --on ray --cohort 2", "--cohort 2 is for --on here", "does not take it", "let lanes share a GPU"
    ),
    "side by side in jobs": mistake(
        f"{RUN} --on slurm --cohort 2", "--cohort 2 is for --on here", "does not take it", "set runs_at_once"
    ),
    "options that exclude each other": mistake(
        f"{RUN} --profile --cohort 2", "--cohort 2", "its runs share their time", "leave one of them out"
    ),
    "no Ray": mistake(
        f"{RUN} --on ray", "--on ray", "ray, which is not installed", "'clr-hpc[ray]'", absent="ray"
    ),
    "no submitit": mistake(
        f"{SITE} site.yaml",
        "--on slurm",
        "submitit, which is not installed",
        "'clr-hpc[slurm]'",
        absent="submitit",
    ),
    "no SLURM": mistake(f"{SITE} site.yaml", "sbatch", "is not installed here", "use a login node"),
    "SLURM is silent": mistake(f"{SITE} site.yaml", "sinfo", "no controller", **SILENT),
    "no GPU": mistake(f"{RUN} --on ray --gpus 2", "--gpus 2", "this machine has 0", "leave it out"),
    "no GPU to plan with": mistake("plan study.yaml --gpus 2", "no GPU to measure on", "give --throughput FILE"),
    "no site file": mistake(f"{SITE} nowhere.yaml", "nowhere.yaml", "no such file", "clr-hpc init writes one"),
    "wrong partition": mistake(
        f"{SITE} partition.yaml", "partition=bathc", "unknown partition", "did you mean 'batch'?", **SLURM
    ),
    "more CPUs than a node has": mistake(
        f"{SITE} cpus.yaml", "cpus=64", "more than the 16 of the largest node", "lower cpus", **SLURM
    ),
    "more GPUs than a node has": mistake(f"{SITE} gpus.yaml", "gpus=9", "more than the 4", "lower gpus", **SLURM),
    "results off the shared disk": mistake(
        f"{SITE} elsewhere.yaml", "results", "not in shared_folder", "give --results", **SLURM
    ),
    # results
    "results are a file": mistake(f"{RUN} --results file", "file", "where a folder is meant", "another folder"),
    "results below a file": mistake(
        f"{RUN} --results file/x", "file", "where a folder is meant", "another folder"
    ),
    "report before run": mistake("report study.yaml", "results/trial", "does not exist", "'clr-hpc run' makes"),
    "status of nothing": mistake("status study.yaml", "results/trial", "no study was started", "clr-hpc run"),
    "status of a folder": mistake(
        "status folder", "folder", "no study's folder", "name a study file or its folder"
    ),
    "status of a pack": mistake("status pack", "pack", "no study's folder", "name a study file or its folder"),
    "tensorboard of nothing": mistake(
        "tensorboard study.yaml", "results/trial", "no study was started", "clr-hpc run"
    ),
    "cancel of nothing": mistake("cancel old", "old", "never submitted", "--on slurm does that"),
    "logs of no run": mistake("logs old any", "old", "has 'any' in its name", "see its runs/"),
    "logs of nothing": mistake("logs old constant", "no job was submitted", "has not failed", "old/logs"),
    "cancel before run": mistake("cancel study.yaml", "results/trial", "no study was started", "clr-hpc run"),
    "two ways to watch": mistake("status old --watch --json", "--watch draws for people", "give one of them"),
    # plans, range tests and searches
    "ending of a chart": mistake(
        "plan study.yaml --chart plan.pdf", "plan.pdf", "ends in .pdf", ".png, .svg or .html"
    ),
    "chart is a folder": mistake(
        "plan study.yaml --chart folder.png", "folder.png", "it is a folder", "a file in it"
    ),
    "no throughput": mistake("plan study.yaml --throughput nowhere", "nowhere", "does not exist", "give a file"),
    "no throughput to run with": mistake(
        "run study.yaml --throughput nowhere", "nowhere", "does not exist", "give a file"
    ),
    "plan of what can't be trained": mistake(
        "plan study.yaml --set image_size=96", "image_size=96", "larger than the pack's 64", "lower image_size"
    ),
    "range test of what can't be trained": mistake(
        "range-test study.yaml --set batch_size=1", "batch_size=1", "needs two images", "raise batch_size to 2"
    ),
    "no tune section": mistake("tune study.yaml", "study.yaml", "no tune: section", "clr-hpc manual tuning"),
    "no Optuna": mistake(
        "tune search.yaml", "search: optuna-tpe", "not installed", "'clr-hpc[optuna]'", absent="optuna"
    ),
    "search of what can't be trained": mistake(
        "tune search.yaml --set tune.search=random --set image_size=96", "image_size=96", "lower image_size"
    ),
    # tables and packs
    "no table": mistake("inspect nowhere.csv", "nowhere.csv", "there is no such file", "check the path"),
    "study given for a table": mistake(
        "inspect study.yaml", "study.yaml", "a study file", "name a pack or a table"
    ),
    "table not UTF-8": mistake("inspect latin.csv", "latin.csv", "not UTF-8: byte 0xf6 in line 1", "as UTF-8"),
    "table cut short": mistake(
        "inspect cut.csv.gz", "cut.csv.gz", "ends before its compressed data", "copy it again"
    ),
    "table damaged": mistake("inspect bad.csv.gz", "bad.csv.gz", "compressed data is damaged", "copy it again"),
    "table of nothing": mistake("inspect file", "file", "empty, 0 bytes", "name the label table"),
    "table without labels": mistake(
        "inspect plain.csv", "plain.csv", "no column named like one of", "give --label"
    ),
    "checksums of a table": mistake("inspect labels.csv --verify", "labels.csv", "no checksums", "name a pack"),
    "ending of a figure": mistake("inspect labels.csv --chart a.foo", "a.foo", "ends in .foo", ".png or .svg"),
    "label column absent": mistake(
        f"{PACK} --label oedema=edema", "'oedema'", "unknown column", "did you mean 'edema'?"
    ),
    "label of no pathology": mistake(f"{PACK} --label edema=efusion", "'efusion'", "did you mean 'effusion'?"),
    "no patient column": mistake(
        f"{NO_PATIENT} --patient-column patient_id", "'patient_id'", "unknown column", "known are"
    ),
    "no patient": mistake(
        NO_PATIENT,
        "labels.csv",
        "which images are of one patient",
        "--patient-column COLUMN",
        "--image-is-patient",
    ),
    "patient named twice": mistake(
        f"{PACK} --patient-from (.+)", "--patient-from and --image-is-patient are given", "keep one"
    ),
    "pattern without a group": mistake(
        f"{NO_PATIENT} --patient-from .+", "--patient-from '.+'", "has 0 groups", "into one pair of brackets"
    ),
    "views without their column": mistake(f"{PACK} --view PA", "--view needs --view-column", "name the column"),
    "unknown encoding": mistake(f"{PACK} --encoding utf8x", "'utf8x' is unknown", "give utf-8, utf-16"),
    "long separator": mistake(f"{PACK} --separator ::", "'::' is not one character", "give ','"),
    "no label": mistake(
        PACK.replace("labels.csv", "values.csv"), "row 2, edema", "'maybe' is not a label", "1 is yes, 0 is no"
    ),
    "no images": mistake(
        PACK.replace("--images images", "--images nowhere"), "nowhere", "is not a folder", "give the"
    ),
    "output is there": mistake(PACK.replace("new", "folder"), "folder exists", "delete it, or give another name"),
    "output below a file": mistake(
        PACK.replace("new", "file/new"), "file", "where a folder is meant", "another folder"
    ),
    "another publisher's table": mistake(
        "pack nih --images images --labels labels.csv --output new", "labels.csv", "unknown column: 'Image Index'"
    ),
    "one list of two": mistake(
        "pack nih --images images --labels labels.csv --test-list file --output new", "the test list", "give both"
    ),
}
SITES = {
    "site": {},
    "partition": {"partition": "bathc"},
    "cpus": {"cpus": 64},
    "gpus": {"gpus": 9},
    "elsewhere": {"shared_folder": "/usr"},
}
STUDIES: dict[str, dict[str, Any]] = {
    "study": {},
    "misspelt": {"training": {"epoch": 2}},
    "type": {"training": {"epochs": "two"}},
    "search": {"tune": {"search": "optuna-tpe", "trials": 2, "space": {"lr_max": [0.01, 0.02]}}},
}


@pytest.fixture(scope="module")
def desk(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what a new user has, and has done wrong."""
    desk = tmp_path_factory.mktemp("desk")
    for name, changes in STUDIES.items():
        (desk / f"{name}.yaml").write_text(yaml.safe_dump(STUDY | {"pack": "pack"} | changes))
    without_rates = {key: value for key, value in STUDY.items() if key != "rates"}
    (desk / "missing.yaml").write_text(yaml.safe_dump(without_rates | {"pack": "pack"}))
    for name, changes in SITES.items():
        site = {"partition": "batch", "cpus": 2, "time_limit_minutes": 30, "shared_folder": str(desk)} | changes
        (desk / f"{name}.yaml").write_text(yaml.safe_dump(site))
    texts = {
        "tab.yaml": "training:\n\tepochs: 2\n", "twice.yaml": "name: a\nname: b\n", "list.yaml": "- name\n",
        "file": "", "plain.csv": "image,age\na.png,1\n", "labels.csv": "image,edema\na.png,1\nb.png,0\n",
        "values.csv": "image,edema\na.png,maybe\n",
    }  # fmt: skip
    for name, text in texts.items():
        (desk / name).write_text(text)
    for name in ("latin.yaml", "latin.csv"):
        (desk / name).write_bytes("# Größe\n".encode("latin-1"))
    packed = gzip.compress("".join(f"{number}.png,1\n" for number in range(3000)).encode())
    (desk / "cut.csv.gz").write_bytes(packed[:60])
    (desk / "bad.csv.gz").write_bytes(packed[:40] + b"\0" + packed[41:])
    os.mkfifo(desk / "pipe")
    for name in ("folder", "folder.png", "images", "old", "poor", "bin"):
        (desk / name).mkdir()
    (desk / "pack").symlink_to(small_pack.folder)
    (desk / "poor" / "manifest.json").write_text(without(small_pack.manifest, "cardiomegaly").to_json())
    shutil.copy(desk / "study.yaml", desk / "old" / "study.yaml")
    shutil.copy(small_pack.folder / "manifest.json", desk / "old" / "pack.json")
    return desk


def without(pack: Manifest, pathology: str) -> Manifest:
    """Return a manifest of a pack with a finding that no training image has."""
    split = pack.counts.splits["train"]
    labels = split.labels | {pathology: LabelCounts(negative=split.images)}
    splits = pack.counts.splits | {"train": split.model_copy(update={"labels": labels})}
    return pack.model_copy(update={"counts": pack.counts.model_copy(update={"splits": splits})})


@pytest.fixture
def at_the_desk(desk: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let commands run in that folder, on a machine without GPU and SLURM."""
    monkeypatch.chdir(desk)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setenv("PATH", str(desk / "bin"))
    return desk


def files_in(folder: Path) -> dict[str, tuple[int, int]]:
    """Return all that is in a folder, with sizes and times."""
    states = {str(path): path.lstat() for path in folder.rglob("*")}
    return {path: (state.st_size, state.st_mtime_ns) for path, state in states.items()}


@pytest.mark.parametrize("one", MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_answered_before_anything_starts(
    one: Mistake, at_the_desk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if one.absent is not None:
        monkeypatch.setitem(sys.modules, one.absent, None)
        monkeypatch.delitem(sys.modules, "clr_hpc.tuning.optuna_search", raising=False)
    for name, script in one.commands.items():
        (at_the_desk / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (at_the_desk / "bin" / name).chmod(0o755)
    before, started = files_in(at_the_desk), []
    popen = subprocess.Popen.__init__

    def spy(self: Any, command: Any, *args: Any, **options: Any) -> None:
        started.append(command[0])
        popen(self, command, *args, **options)

    def no_process(_self: Any) -> None:
        raise AssertionError("a process was started")

    monkeypatch.setattr(subprocess.Popen, "__init__", spy)
    monkeypatch.setattr(multiprocessing.process.BaseProcess, "start", no_process)
    try:
        done = CliRunner().invoke(app, shlex.split(one.typed))
        after = files_in(at_the_desk)
    finally:
        for name in one.commands:
            (at_the_desk / "bin" / name).unlink()
    assert done.exit_code == 2, done.output
    assert set(started) <= {"sinfo", "/sbin/ldconfig"}, "the latter looks for libraries while torch is imported"
    assert after == before, "nothing is written"
    (error,) = [line for line in done.output.splitlines() if line.startswith("error: ")]
    for part in one.told:
        assert part in error
    assert not any(word in done.output for word in ("Traceback", "Errno", "Error:", "codec"))
    assert len(error) < 1000


def test_there_are_forty_of_them() -> None:
    assert len({one.typed for one in MISTAKES.values()}) >= 40


@pytest.mark.usefixtures("at_the_desk")
@pytest.mark.parametrize("name", ["wrong path", "image above the pack's"])
def test_the_answer_is_the_same_from_a_shell(name: str) -> None:
    one = MISTAKES[name]
    command = [sys.executable, "-m", "clr_hpc", *shlex.split(one.typed)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1
    assert all(part in done.stderr for part in one.told)


def test_a_disk_that_can_only_be_read_is_known_beforehand(
    write_study: Callable[..., TrialStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = write_study()
    can = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: not mode & os.W_OK and can(path, mode))
    for command in ("run", "range-test", "plan"):
        done = CliRunner().invoke(app, [command, str(study.file), "--results", str(tmp_path / "results")])
        assert done.exit_code == 2
        assert "can't be written to by this user, or its disk is read-only; give another folder" in done.output


@pytest.mark.parametrize(
    ("reasons", "step"),
    [
        (["FloatingPointError: the loss is not finite"], ", and would fail again; change the study as"),
        (["rank 1 of 2: ValueError: x", "BaselineError: its baseline a failed: EmptyTaskError: x"], ", and would"),
        (["OSError: [Errno 28] No space left on device"], "; try them again with the same command: clr-hpc run s"),
        (["ValueError: x", "the process died twice"], "; 1 would fail again until the study is changed. Try the"),
    ],
)
def test_the_same_command_is_named_where_it_can_help(reasons: list[str], step: str) -> None:
    hopeless = sum(would_fail_again({"reason": reason}) for reason in reasons)
    assert next_step(len(reasons), hopeless, "clr-hpc run s").startswith(step)
