"""``clr-hpc init``: what it writes can be used as it is, by the commands that it shows."""

import shlex
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.load import load_study
from clr_hpc.data.pack import Pack
from clr_hpc.places.slurm.site import load_site
from clr_hpc.store.pack_record import trainable

SINFO = "echo 'cpu*|8|64000|(null)'; echo 'gpu|32|256000|gpu:a100:4(S:0-1)'"


def told(*words: str, code: int = 0) -> str:
    done = CliRunner().invoke(app, list(words))
    assert done.exit_code == code, done.output
    return done.output


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to work in, with no command of SLURM on the path."""
    (tmp_path / "here").mkdir()
    (tmp_path / "bin").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path / "here"


def install(folder: Path, name: str, text: str) -> None:
    file = folder.parent / "bin" / name
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def commands(output: str) -> list[str]:
    return [line.strip() for line in output.partition("Next:")[2].splitlines() if line.strip()]


def test_from_a_table_every_command_works_as_it_is_shown(folder: Path) -> None:
    rng = np.random.default_rng(0)
    (folder / "films").mkdir()
    rows = ["file,patient,Effusion,Rib fracture,Hernia"]
    for number in range(40):
        Image.fromarray(rng.integers(0, 256, (256, 256), dtype=np.uint8)).save(folder / "films" / f"{number}.png")
        rows.append(f"{number}.png,{number},{number % 2},{number % 3 // 2},0")
    (folder / "labels.csv").write_text("\n".join(rows))
    shown = told("init", "mine", "--from", "labels.csv")
    pack, plan, run, report = commands(shown)
    assert [line.split()[1] for line in (plan, run, report)] == ["plan", "run", "report"]
    assert "Rib fracture: none of the 14" in shown, "what inspect would say"
    assert told(*shlex.split(run)[1:], code=2).endswith(f"make it with: {pack}\n")
    told(*shlex.split(pack)[1:], "--workers", "1")
    assert load_study(Path("mine/study.yaml")).findings == ("effusion", "rib_fracture"), "hernia has no positive"
    assert "would train" in told(*shlex.split(run)[1:], "--dry-run")


def test_from_a_pack_its_findings_are_those_that_it_can_train(small_pack: Pack) -> None:
    shown = told("init", "--from", str(small_pack.folder))
    study = load_study(Path("study.yaml"))
    assert study.findings == trainable(small_pack.manifest.record, None)
    assert (study.pack, study.name, study.training.image_size) == (str(small_pack.folder), "here", 64)
    assert commands(shown)[0] == "clr-hpc plan study.yaml"
    assert "would train" in told("run", "study.yaml", "--dry-run")


def test_without_images_it_is_about_the_phantom() -> None:
    first = commands(told("init", "a study: no/100 % of it"))[0]
    study = load_study(Path("a study: no/100 % of it/study.yaml"))
    assert study.name == "100-of-it"
    assert first.endswith(f"--output {study.pack}")


@pytest.mark.parametrize(
    ("given", "answer"),
    [("nowhere.csv", "no such file"), ("bare.csv", "clr-hpc inspect bare.csv"), ("empty", "is not a pack")],
)
def test_what_can_not_be_trained_is_said_and_nothing_written(given: str, answer: str, folder: Path) -> None:
    (folder / "bare.csv").write_text("file,patient,Effusion\na.png,1,1\nb.png,2,1\n")
    (folder / "empty").mkdir()
    assert answer in told("init", "mine", "--from", given, code=2)
    assert not (folder / "mine").exists()


def test_what_is_there_stays(folder: Path) -> None:
    (folder / "study.yaml").write_text("mine")
    assert "is there already" in told("init", code=2)
    assert (folder / "study.yaml").read_text() == "mine"


def test_where_slurm_is_a_site_file_is_drafted_from_what_it_says(folder: Path) -> None:
    install(folder, "sinfo", SINFO)
    install(folder, "scontrol", "echo 'PartitionName=gpu MaxTime=02:30:00 State=UP'")
    last = commands(told("init", "mine"))[-1]
    assert last == "clr-hpc run mine/study.yaml --on slurm --site mine/site.yaml --dry-run"
    site = load_site(Path("mine/site.yaml"))
    assert (site.partition, site.gpus, site.cpus, site.memory_gb) == ("gpu", 1, 8, 56)
    assert (site.time_limit_minutes, site.shared_folder, site.setup) == (150, folder, ())


def test_a_cluster_without_gpus_and_limits_has_a_whole_node(folder: Path) -> None:
    install(folder, "sinfo", "echo 'big|64|9000|(null)'; echo 'cpu*|8|64000|(null)'")
    told("init")
    site = load_site(Path("site.yaml"))
    assert (site.partition, site.gpus, site.cpus, site.time_limit_minutes) == ("cpu", 0, 8, 240)


def test_a_silent_slurm_is_noted(folder: Path) -> None:
    install(folder, "sinfo", "echo no controller >&2; exit 1")
    assert "no site file: sinfo: no controller" in told("init")
    assert [file.name for file in folder.iterdir()] == ["study.yaml"]
