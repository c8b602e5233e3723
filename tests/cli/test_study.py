"""The study that a command is about: its file against the folder that has its name, and the folder itself."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from invented_study import InventedStudy
from trial_study import RANGE_TESTED, TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli import study as cli_study
from clr_hpc.cli.app import app
from clr_hpc.config.expand import expand, placeholders
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.data.pack import Pack
from clr_hpc.places.base import TrainingJob
from clr_hpc.places.options import TrainingOptions
from clr_hpc.store import layout
from clr_hpc.store.study_folder import StudyFolder

Write = Callable[..., TrialStudy]
WATCHERS = ("status", "report", "logs", "cancel")
LONGER = {"training": {"epochs": 3, "image_size": 32, "batch_size": 16}}


def invoke(*words: object) -> tuple[int, str]:
    """Return the exit status and what was printed, as one line."""
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, " ".join(done.output.split())


def started(study: TrialStudy, pack: Pack) -> StudyFolder:
    """Return the study's folder as ``run`` leaves it before the first run."""
    folder = StudyFolder(study.file.parent / "results" / "trial")
    folder.prepare(load_study(study.file), pack.folder)
    return folder


def test_another_study_of_the_same_name_is_rejected_before_anything_is_written(
    write_study: Write, small_pack: Pack
) -> None:
    folder = started(write_study(), small_pack)
    before = (folder.path / layout.STUDY).read_text()
    other = write_study(**LONGER)
    for options in ((), ("--dry-run",)):
        status, told = invoke("run", other.file, "--results", folder.path.parent, *options)
        assert status == 2
        assert "holds another study of this name: training.epochs: 2 → 3; give this one another name" in told
        assert "--set name=trial-2" in told
        assert "trial.replaced-1" in told
    assert (folder.path / layout.STUDY).read_text() == before
    assert invoke("run", other.file, "--results", folder.path.parent / "new", "--dry-run")[0] == 0
    renamed = ("--set", "name=trial-2", "--dry-run")
    assert invoke("run", other.file, "--results", folder.path.parent, *renamed)[0] == 0


def test_what_a_place_prepares_is_never_another_studys(write_study: Write, small_pack: Pack) -> None:
    folder = started(write_study(), small_pack)
    other = load_study(write_study(**LONGER).file)
    with pytest.raises(StudyError, match="another study of this name"):
        folder.check(other, small_pack.manifest.checksum)
    same = load_study(write_study().file)
    with pytest.raises(StudyError, match=r"pack: other images, with checksum \w{8}… → ffffffff…"):
        folder.check(same, "f" * 64)
    assert folder.check(same, small_pack.manifest.checksum) is None


def test_a_question_is_declared_before_training(write_study: Write, small_pack: Pack) -> None:
    folder = started(write_study(), small_pack)
    later = load_study(write_study(question={"margin": 0.05}).file)
    folder.check(later, small_pack.manifest.checksum)
    (folder.runs / "begun").mkdir()
    with pytest.raises(StudyError, match=r"'margin': 0.01}, and this study asks .*'margin': 0.05}; a question is"):
        folder.check(later, small_pack.manifest.checksum)


def test_more_runs_of_the_same_study_go_on(write_study: Write, small_pack: Pack) -> None:
    folder = started(write_study(), small_pack)
    more = write_study(seeds=[0, 1])
    status, told = invoke("run", more.file, "--results", folder.path.parent, "--dry-run")
    assert status == 0, told
    assert "2 runs more than" in told
    assert "seeds: [0] → [0, 1]" in told
    fewer = ("--set", "stages.scratch.policies=[constant]", "--dry-run")
    assert "holds another study" in invoke("run", write_study().file, "--results", folder.path.parent, *fewer)[1]


def test_replace_keeps_the_other_study_aside(write_study: Write, small_pack: Pack, tmp_path: Path) -> None:
    folder = started(write_study(), small_pack)
    command = ("run", write_study(**LONGER).file, "--results", folder.path.parent, "--replace")
    status, told = invoke(*command, "--dry-run")
    assert status == 0, told
    assert "would keep the study of the same name as" in told
    assert folder.path.exists()
    job = _job(write_study(**LONGER), folder, small_pack)
    assert "trial.replaced-1" in str(cli_study.make_way(job))
    assert (tmp_path / "results" / "trial.replaced-1" / layout.STUDY).exists()
    assert not folder.path.exists()
    started(write_study(**LONGER), small_pack)
    assert cli_study.make_way(job) is None, "the same study goes on"
    assert folder.free_name_aside().name == "trial.replaced-2"


def _job(study: TrialStudy, folder: StudyFolder, pack: Pack, **options: bool) -> object:

    loaded, checksum = load_study(study.file), pack.manifest.checksum
    return TrainingJob(
        loaded, checksum, folder, expand(loaded, checksum), TrainingOptions(replace=True, **options)
    )


def test_rates_that_are_auto_count_as_those_in_the_folder(write_study: Write, small_pack: Pack) -> None:
    study = load_study(write_study(**RANGE_TESTED).file)
    folder = StudyFolder(Path(write_study(**RANGE_TESTED).file.parent, "results", "trial"))
    folder.prepare(study.model_copy(update={"measured": tuple(placeholders(study))}), small_pack.folder)
    assert folder.change_to(study) is None
    fixed = load_study(write_study(**RANGE_TESTED | {"rates": {"sgd": {"lr_min": 0.1, "lr_max": 0.2}}}).file)
    change = folder.change_to(fixed)
    assert change is not None
    assert str(change) == "rates.sgd.lr_min: 'auto' → 0.1; rates.sgd.lr_max: 'auto' → 0.2"


@pytest.mark.parametrize("command", WATCHERS)
def test_who_watches_says_when_file_and_folder_differ(command: str, write_study: Write, small_pack: Pack) -> None:
    folder = started(write_study(), small_pack)
    words = ["any"] * (command == "logs")
    results = ("--results", folder.path.parent)
    assert "is not what" not in invoke(command, write_study().file, *words, *results)[1]
    told = invoke(command, write_study(**LONGER).file, *words, *results)[1]
    assert "study.yaml is not what" in told
    assert "holds: training.epochs: 2 → 3" in told
    assert (
        "is not what" not in invoke(command, write_study(**LONGER).file, *words, *results, "--set", "epochs=2")[1]
    )


@pytest.mark.parametrize("command", WATCHERS)
def test_a_study_is_also_named_by_its_folder(command: str, write_study: Write, small_pack: Pack) -> None:
    folder = started(write_study(), small_pack)
    words = ["any"] * (command == "logs")
    by_file = invoke(command, write_study().file, *words, "--results", folder.path.parent)
    assert invoke(command, folder.path, *words) == by_file
    assert invoke(command, folder.path / layout.STUDY, *words) == by_file
    for option in (("--set", "epochs=3"), ("--results", folder.path.parent)):
        status, told = invoke(command, folder.path, *words, *option)
        assert status == 2
        assert f"{option[0]} belongs to a study file" in told
    assert "no study's folder" in invoke(command, folder.path.parent, *words)[1]


@pytest.mark.parametrize("name", [*sorted(layout.OF_NO_STUDY), "Rates"])
def test_names_of_the_programs_own_folders_are_rejected(name: str, write_study: Write) -> None:
    study = write_study(name=name)
    for command in ("run", "plan", "status", "report"):
        status, told = invoke(command, study.file, "--results", study.file.parent / "results")
        assert status == 2
        assert f"name: {name} is what clr-hpc calls a folder of its own" in told
    assert not (study.file.parent / "results").exists()


def test_the_folders_of_the_program_are_all_known(repository: Path) -> None:
    source = "\n".join(path.read_text() for path in (repository / "clr_hpc").rglob("*.py"))
    inside_results = set(re.findall(r"\bresults / (?:layout\.)?([A-Z_]+)", source))
    assert {getattr(layout, name) for name in inside_results} == layout.OF_NO_STUDY


@pytest.mark.parametrize("path", ["results/trial", "/a b/trial", "-x/trial", "[b]/trial"])
def test_a_printed_command_finds_the_folder(path: str) -> None:
    program, name, argument = shlex.split(cli_study.command("report", Path(path)))
    assert (program, name) == ("clr-hpc", "report")
    assert not argument.startswith("-")
    assert Path(argument) == Path(path)


@pytest.mark.commands
def test_the_command_that_run_prints_last_is_of_the_study_that_ran(write_study: Write, tmp_path: Path) -> None:
    study = write_study(stages={"scratch": {"policies": ["constant"]}})
    changes = ("--set", "name=second", "--set", "epochs=1", "--no-plan", "--results", tmp_path / "results")
    status, told = invoke("run", study.file, *changes)
    assert status == 0, told
    printed = shlex.split(told[told.index("report: ") + len("report: ") :])
    assert printed == ["clr-hpc", "report", str(tmp_path / "results" / "second")]
    assert invoke(*printed[1:])[0] == 0
    ran = yaml.safe_load((tmp_path / "results" / "second" / "study.yaml").read_text())
    assert ran["training"]["epochs"] == 1


@pytest.mark.commands
def test_what_steps_cannot_follow_is_said_before_and_after(write_study: Write, tmp_path: Path) -> None:
    wave = {"name": "triangular", "half_cycle_epochs": 0.5}
    training = {"epochs": 2, "image_size": 32, "batch_size": 500}
    study = write_study(stages={"scratch": {"policies": [wave]}}, training=training)
    results = ("--results", tmp_path / "results")
    remarks = (
        "training images, so a batch has 12",
        "a rise of 0.5 epochs is 0.5 steps, and the rate never leaves 0.001",
    )
    for command in (("run", study.file, *results, "--dry-run"), ("run", study.file, *results, "--no-plan")):
        status, told = invoke(*command)
        assert status == 0, told
        assert all(remark in told for remark in remarks)
    assert invoke("report", tmp_path / "results" / "trial")[0] == 0
    page = (tmp_path / "results" / "trial" / "report" / "report.html").read_text()
    assert all(remark in page for remark in remarks)
    (tmp_path / "throughput.json").write_text("{}")
    planned = invoke("plan", study.file, *results, "--throughput", tmp_path / "throughput.json")[1]
    assert all(remark in planned for remark in remarks)


def test_why_a_run_failed_on_this_machine_is_shown(invent_study: Callable[..., InventedStudy]) -> None:
    study = invent_study()
    done, failed = study.runs[:2]
    study.finish(done)
    study.fail(failed, "OSError: the disk is full")
    status, told = invoke("logs", study.folder.path, failed.name)
    assert status == 0, told
    assert told.startswith("==> why the run failed <==")
    status, told = invoke("logs", study.folder.path, done.name)
    assert status == 2
    assert f"what commands printed is in {study.folder.path / layout.LOGS}" in told
