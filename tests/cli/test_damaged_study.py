"""Damaged files through the commands that people call: none ends in a traceback, and each damage is named."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from hypothesis import given
from mutation import damage_of, times
from trial_study import TrialStudy
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.data.manifest import PackError, open_manifest
from clr_hpc.data.pack import Pack
from clr_hpc.store import layout
from clr_hpc.store.lease import LeaseHolder
from clr_hpc.store.metrics import check_metrics
from clr_hpc.store.pack_record import read_pack
from clr_hpc.store.records import Damaged
from clr_hpc.store.results import check_result
from clr_hpc.store.run_files import read_architecture, read_environments, read_spec
from clr_hpc.store.study_files import read_plan, read_range_tests
from clr_hpc.store.study_folder import StudyFolder

pytestmark = pytest.mark.slow
SOME = times(20)
Reader = Callable[[Path], object]


def no_reader(_file: Path) -> None:
    """Stand for files that these commands do not read, or whose damage costs nothing."""


def pack_of(file: Path) -> object:
    """Return the manifest of the pack that a file belongs to, or what is wrong with the pack."""
    try:
        return open_manifest(file.parent, verify=True)
    except PackError as error:
        return Damaged(file, str(error), "")


def study_of(file: Path) -> object:
    """Return a study, or what is wrong with it."""
    try:
        return load_study(file)
    except StudyError as error:
        return Damaged(file, str(error), "")


def spec_of(file: Path) -> object:
    """Return a run's spec, or what is wrong with it."""
    runs = StudyFolder(file.parents[2]).started().runs
    return read_spec(file.parent, next(spec for spec in runs if spec.name == file.parent.name))


def lines_of(file: Path) -> object:
    """Return what of a run's metrics can't be read."""
    return next(iter(check_metrics(file.parent).damaged), None)


CHECKPOINT = f"{layout.CHECKPOINTS}/*.safetensors"
DONE: dict[str, Reader] = {
    layout.RESULT: lambda file: check_result(file.parent),
    layout.METRICS: lambda file: check_result(file.parent),
    layout.PREDICTIONS: lambda file: check_result(file.parent),
    layout.BEST: lambda file: check_result(file.parent),
    layout.SPEC: spec_of,
    layout.ENVIRONMENT: lambda file: read_environments(file.parent),
    layout.ARCHITECTURE: lambda file: read_architecture(file.parent),
    CHECKPOINT: no_reader,
}
STOPPED: dict[str, Reader] = {
    layout.SPEC: spec_of,
    layout.ENVIRONMENT: lambda file: read_environments(file.parent),
    layout.METRICS: lines_of,
    layout.LEASE: no_reader,
    CHECKPOINT: no_reader,
}
OF_THE_STUDY: dict[str, Reader] = {
    f"results/trial/{layout.STUDY}": study_of,
    f"results/trial/{layout.PACK}": lambda file: read_pack(file.parent),
    f"results/trial/{layout.PLAN}": lambda file: read_plan(file.parent),
    f"results/trial/{layout.RANGE_TEST_RESULTS}": lambda file: read_range_tests(file.parent),
    "study.yaml": study_of,
    "pack/manifest.json": pack_of,
    "pack/index.parquet": pack_of,
}
CASES = [
    *(("{done}/" + name, reader) for name, reader in DONE.items()),
    *(("{stopped}/" + name, reader) for name, reader in STOPPED.items()),
    *OF_THE_STUDY.items(),
]


@pytest.fixture(scope="module")
def trained(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> TrialStudy:
    """Return a study with a file of each format; of its two runs the second stopped before its end."""
    root = tmp_path_factory.mktemp("damaged")
    shutil.copytree(small_pack.folder, root / "pack")
    study = TrialStudy.write(root, pack=str(root / "pack"), training={"epochs": 1, "image_size": 32})
    ended = study.run()
    assert ended.returncode == 0, ended.stderr
    done, stopped = study.folders()
    planned = [{"name": run.name, "start": 0.0, "end": 1.0, "training_seconds": 0.5} for run in (done, stopped)]
    plan = {"made": "2026-01-02T12:00:00+00:00", "place": "here", "makespan_seconds": 1.0}
    rates = {"lr_min": 0.01, "lr": 0.05, "lr_max": 0.1}
    curve = {"seed": 0, "rates": [0.01, 0.1], "loss": [1.0, 0.9], "standard_error": [0.1, 0.1]}
    tested = {
        "task": "edema", "architecture": "mobilenet_v1", "optimizer": "sgd", "scale": "linear", "reason": "r",
        "suggestion": rates, "spread": {name: [rate, rate] for name, rate in rates.items()}, "curves": [curve],
    }  # fmt: skip
    records = {
        layout.PLAN: plan | {"lanes": [{"workers": 1, "runs": planned}]},
        layout.RANGE_TEST_RESULTS: {"learners": [tested]},
    }
    for name, record in records.items():
        (root / "results" / "trial" / name).write_text(json.dumps({"format_version": 1} | record))
    (stopped / layout.RESULT).unlink()
    dead = replace(LeaseHolder.this_process("lane 1"), pid=2**22 + 1)
    (stopped / layout.LEASE).write_text(json.dumps(asdict(dead)))
    return study


COMMANDS = ("status", "status --json", "run --dry-run", "report --figures none")


def outputs(study: TrialStudy, with_report: bool = True) -> str:
    """Return, without blanks, what the commands say of a study, and its report."""
    report = study.file.parent / "results" / "trial" / layout.REPORT / "report.html"
    report.unlink(missing_ok=True)
    told = []
    for command in COMMANDS[: 3 + with_report]:
        words = [*command.split(), str(study.file), "--results", str(study.file.parent / "results")]
        done = CliRunner().invoke(app, words)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code in (0, 1, 2), command
        told.append(done.output)
    told.append(report.read_text() if report.exists() else "")
    return "".join("".join(told).split())


@pytest.mark.parametrize(("place", "reader"), CASES, ids=[place for place, _ in CASES])
def test_a_damaged_file_is_named_and_ends_no_command(place: str, reader: Reader, trained: TrialStudy) -> None:
    root, (done, stopped) = trained.file.parent, trained.folders()
    runs = {"done": done.relative_to(root), "stopped": stopped.relative_to(root)}
    (file,) = root.glob(place.format(**runs))
    sound = file.read_bytes()
    assert not isinstance(reader(file), Damaged)
    assert place == "study.yaml" or str(file) not in outputs(trained)  # the command that trained it has its path
    seen = []

    @SOME
    @given(damage_of(file.name)(sound))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        told = outputs(trained, with_report=reader not in (no_reader, pack_of))
        if isinstance(damaged := reader(file), Damaged):
            seen.append(damaged)
            assert str(damaged.file) in told, str(damaged)

    try:
        check()
    finally:
        file.write_bytes(sound)
    assert seen or reader is no_reader
