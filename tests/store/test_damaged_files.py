"""Every reader of the store on damaged files: it returns a record, None or a ``Damaged``, and never raises."""

import hashlib
import json
import shutil
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from invented_study import InventedStudy
from made_records import bundle, done_result, epoch_line, explanations, range_test_result, step_line
from mutation import damage_of, damaged_bytes

from clr_hpc.config.load import StudyError, load_study
from clr_hpc.store import layout
from clr_hpc.store.bundle import read_bundle
from clr_hpc.store.checkpoints import Progress, checksum_damage, drop, parse_progress, tensor_files, write_checksum
from clr_hpc.store.explanations import read_explanations
from clr_hpc.store.lease import LeaseHolder, read_lease
from clr_hpc.store.metrics import check_metrics, recent_metrics
from clr_hpc.store.pack_record import read_pack
from clr_hpc.store.predictions import read_predictions
from clr_hpc.store.records import Damaged, sha256_of
from clr_hpc.store.results import check_result, is_done, read_result, states_of_files
from clr_hpc.store.run_files import read_architecture, read_environments, read_profile, read_spec
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.store.study_files import read_plan, read_range_tests
from clr_hpc.store.study_folder import NothingThereError, StudyFolder

READERS: dict[str, Callable[[Path, Any], Any]] = {
    layout.RESULT: lambda folder, _: read_result(folder),
    layout.ENVIRONMENT: lambda folder, _: read_environments(folder),
    layout.ARCHITECTURE: lambda folder, _: read_architecture(folder),
    layout.PROFILE: lambda folder, _: read_profile(folder),
    layout.SPEC: read_spec,
    layout.PLAN: lambda folder, _: read_plan(folder),
    layout.RANGE_TEST_RESULTS: lambda folder, _: read_range_tests(folder),
    layout.PACK: lambda folder, _: read_pack(folder),
    layout.EXPLANATIONS: lambda folder, _: read_explanations(folder),
    layout.BUNDLE: lambda folder, _: read_bundle(folder),
}
TIMES = settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
PACK = {"format_version": 1, "size": 64, "counts": {"images": 3, "patients": 2, "splits": {}}}


def predictions() -> pd.DataFrame:
    """Return the predictions of two models on 40 images."""
    numbers = range(40)
    facts = {
        "image": [f"{number}.png" for number in numbers],
        "patient": [f"p{number // 2}" for number in numbers],
        "split": ["validation" if number % 2 else "test" for number in numbers],
        "view": ["PA" if number % 3 else None for number in numbers],
        "age_years": [float(number) for number in numbers],
        "sex": ["F"] * 40,
        "label": pd.Series([number % 3 == 0 for number in numbers], dtype="int8"),
    }
    score = pd.Series([number / 40 for number in numbers], dtype="float32")
    return pd.concat([pd.DataFrame({**facts, "model": name, "score": score}) for name in ("last", "swa")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with one sound file of each format; it is no run's, so that all lie together."""
    study = InventedStudy(tmp_path)
    spec = study.runs[0]
    curve = {"seed": 0, "rates": [0.1], "loss": [1.0], "standard_error": [0.1], "constant_answer": 0.9}
    rates = {"lr_min": 0.01, "lr": 0.05, "lr_max": 0.1}
    tests = {
        "task": "edema", "architecture": "mobilenet_v1", "optimizer": "sgd", "scale": "linear", "reason": "r",
        "suggestion": rates, "spread": {name: [rate, rate] for name, rate in rates.items()}, "curves": [curve],
    }  # fmt: skip
    layer = {"name": "stem", "kind": "Conv", "output": [32, 32, 32], "parameters": 288}
    run = {"name": spec.name, "start": 0.0, "end": 1.0, "training_seconds": 0.5}
    made = "2026-01-02T12:00:00.500+00:00"
    checksum = hashlib.sha256(json.dumps(PACK, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    records: dict[str, Any] = {
        layout.RESULT: done_result(),
        layout.ENVIRONMENT: [{"started": made, "host": "here", "versions": {"torch": "2"}, "gpu": None}],
        layout.ARCHITECTURE: {"input": [1, 64, 64], "parameters": 288, "layers": [layer]},
        layout.PROFILE: {
            "task": "edema", "architecture": "alexnet", "images_per_second": 1.0, "limits": None, "trace": None,
            "parts": {"forward": {"seconds": 1.0, "share": 0.5, "times": 3}}, "missing": None,
        },
        layout.SPEC: spec.model_dump(mode="json"),
        layout.PLAN: {"format_version": 1, "made": made, "place": "here", "makespan_seconds": 1.0,
                      "lanes": [{"workers": 1, "runs": [run]}]},
        layout.RANGE_TEST_RESULTS: {"format_version": 1, "learners": [tests]},
        layout.PACK: PACK | {"checksum": checksum},
        layout.EXPLANATIONS: explanations("effusion"),
        layout.BUNDLE: bundle(spec.model_dump(mode="json")),
        layout.LEASE: asdict(LeaseHolder.this_process("lane 1")),
    }  # fmt: skip
    made_folder = tmp_path / "files"
    made_folder.mkdir()
    for name, record in records.items():
        (made_folder / name).write_text(json.dumps(record))
    lines = [step_line(32), epoch_line(64, 1.0), step_line(96, momentum=None)]
    (made_folder / layout.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    predictions().to_parquet(made_folder / layout.PREDICTIONS)
    shutil.copy(study.folder.path / layout.STUDY, made_folder / layout.STUDY)
    return made_folder


@pytest.fixture
def spec(folder: Path, tmp_path: Path) -> Any:  # noqa: ARG001
    return StudyFolder(tmp_path / "results" / "invented").started().runs[0]


@pytest.mark.parametrize("name", READERS)
def test_a_sound_file_is_read_and_a_missing_one_is_none(name: str, folder: Path, spec: Any) -> None:
    found = READERS[name](folder, spec)
    assert found is not None
    assert not isinstance(found, Damaged), str(found)
    (folder / name).unlink()
    assert READERS[name](folder, spec) is None


@pytest.mark.parametrize("name", READERS)
def test_what_is_damaged_is_named_and_nothing_is_raised(name: str, folder: Path, spec: Any) -> None:
    sound = (folder / name).read_bytes()

    @TIMES
    @given(damage_of(name)(sound))
    def check(content: bytes) -> None:
        (folder / name).write_bytes(content)
        found = READERS[name](folder, spec)
        if isinstance(found, Damaged):
            assert found.file == folder / name
            assert found.reason
            assert "\n" not in str(found)
            assert len(str(found)) < 1500
        else:
            json.loads(content)

    check()
    (folder / name).unlink()
    (folder / name).mkdir()
    assert "it is a folder, not a file" in READERS[name](folder, spec).reason


def test_a_damaged_line_of_metrics_costs_that_line_only(folder: Path) -> None:
    sound = (folder / layout.METRICS).read_bytes()

    @TIMES
    @given(damage_of(layout.METRICS)(sound))
    def check(content: bytes) -> None:
        (folder / layout.METRICS).write_bytes(content)
        found = check_metrics(folder)
        assert len(found.lines) + len(found.damaged) == content.count(b"\n")
        assert len(found.lines) >= 2
        # as text, since a damaged number may be NaN, which differs from itself
        assert repr(recent_metrics(folder)) == repr(list(found.lines))

    check()


def test_a_damaged_lease_ends_like_any_other(folder: Path) -> None:
    sound = (folder / layout.LEASE).read_bytes()

    @TIMES
    @given(damage_of(layout.LEASE)(sound))
    def check(content: bytes) -> None:
        (folder / layout.LEASE).write_bytes(content)
        assert read_lease(folder) is not None

    check()
    (folder / layout.LEASE).unlink()
    (folder / layout.LEASE).mkdir()
    lease = read_lease(folder)
    assert lease is not None
    assert lease.by.place == "unreadable lease"


def test_a_damaged_study_is_an_error_that_names_it(folder: Path) -> None:
    sound = (folder / layout.STUDY).read_bytes()

    @TIMES
    @given(st.one_of(damaged_bytes(sound), st.sampled_from(YAML_TRAPS)))
    def check(content: bytes) -> None:
        (folder / layout.STUDY).write_bytes(content)
        with suppress(StudyError):
            load_study(folder / layout.STUDY)

    check()
    (folder / layout.STUDY).unlink()
    (folder / layout.STUDY).mkdir()
    with pytest.raises(StudyError, match=r"study\.yaml: it is a folder, not a file"):
        load_study(folder / layout.STUDY)


YAML_TRAPS = [
    b"[" * 5000,
    b"a: !!int ''",
    b"a: !!bool x",
    b"a: !!timestamp x",
    b"? [a]\n: 1",
    b"=: =",
    b"- &a *a",
    b"name: " + b"9" * 5000,
    b"training: {epochs: 1" + b"0" * 400 + b"}",
    b"\x00",
    b"seeds: .nan",
]


def test_no_flipped_bit_of_predictions_passes_unseen(folder: Path) -> None:
    """1,500 single bits, spread over the file."""
    file = folder / layout.PREDICTIONS
    state, sound = states_of_files(folder)[layout.PREDICTIONS], file.read_bytes()
    assert not isinstance(read_predictions(folder, state), Damaged)
    for number in range(1500):
        bit = number * (8 * len(sound) - 1) // 1499
        flipped = bytearray(sound)
        flipped[bit // 8] ^= 1 << bit % 8
        file.unlink()  # else ext4 waits for the disk
        file.write_bytes(flipped)
        assert isinstance(read_predictions(folder, state), Damaged), bit


def test_predictions_of_before_there_were_checksums_raise_nothing(folder: Path) -> None:
    sound = (folder / layout.PREDICTIONS).read_bytes()

    @TIMES
    @given(damaged_bytes(sound))
    def check(content: bytes) -> None:
        (folder / layout.PREDICTIONS).write_bytes(content)
        read_predictions(folder, None)

    check()


def test_metadata_of_a_later_version_or_with_an_unknown_key_is_passed_over() -> None:
    known = {"samples": 8, "divergences": [{"samples": 4, "lr_max": 0.1}]}
    found = parse_progress(known, Path("x"))
    assert isinstance(found, Progress)
    assert found.divergences[0].lr_max == 0.1
    for damage in ({"later": 1}, {"samples": "8"}, {"samples": -1}, {"divergences": [{}]}, {"format_version": 2}):
        assert isinstance(parse_progress(known | damage, Path("x")), Damaged), damage
    assert parse_progress(known | {"format_version": 1}, Path("x")) == found


def test_only_what_has_a_checkpoints_name_is_deleted_and_no_link(tmp_path: Path) -> None:
    kept = ["backup.safetensors", "12.safetensors", "000000000008.safetensors.bak", "notes.txt"]
    for name in (*kept, "000000000008.safetensors"):
        (tmp_path / name).touch()
    write_checksum(tmp_path / "000000000008.safetensors", "0" * 64)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "000000000016.safetensors").touch()
    (tmp_path / "000000000016.safetensors").symlink_to(tmp_path / "elsewhere" / "000000000016.safetensors")
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    drop([*tensor_files(tmp_path), *tensor_files(tmp_path / "linked")])
    assert {path.name for path in tmp_path.iterdir()} == {*kept, "elsewhere", "linked", "000000000016.safetensors"}
    assert (tmp_path / "elsewhere" / "000000000016.safetensors").exists()


def test_a_checksum_that_is_not_there_or_not_text_is_damage(tmp_path: Path) -> None:
    file = tmp_path / "000000000008.safetensors"
    file.write_bytes(b"tensors")
    assert checksum_damage(file) is not None
    write_checksum(file, sha256_of(file))
    assert checksum_damage(file) is None
    layout.checksum_of(file).write_bytes(b"\xff\xfe")
    assert checksum_damage(file) is not None


@pytest.mark.parametrize("name", [layout.METRICS, layout.PREDICTIONS, layout.RESULT])
def test_a_run_whose_files_disagree_is_made_again(name: str, tmp_path: Path) -> None:
    study = InventedStudy(tmp_path)
    spec = study.runs[0]
    path = study.path(spec)
    with study.begin(spec, 4) as open_run:
        predictions().to_parquet(path / layout.PREDICTIONS)
        (path / layout.CHECKPOINTS).mkdir()
        (path / layout.CHECKPOINTS / layout.tensors_name(640)).touch()
        open_run.finish(done_result())
    assert study.folder.unfinished((spec,)) == ()
    assert set(json.loads((path / layout.RESULT).read_text())["files"]) == {layout.METRICS, layout.PREDICTIONS}
    content = bytearray((path / name).read_bytes())
    content[len(content) // 2] ^= 0x80
    (path / name).write_bytes(content)
    remaining = study.folder.remaining((spec,))
    assert remaining.runs == (spec,)
    (damaged,) = remaining.damaged
    assert damaged.file == path / name
    assert "'clr-hpc run' trains the run again" in str(damaged)
    with RunFolder(path).open(spec, {"host": "here"}, "lane 1"):
        assert read_result(path) is None, "whatever becomes of it now, the damaged result does not count"
        restarts = not any((path / layout.CHECKPOINTS).iterdir())
    assert restarts == (name == layout.METRICS), "lines that are lost come back by training alone"
    assert len(list(path.glob("result.json.damaged-*"))) == 1


def test_weights_may_be_deleted_and_a_missing_curve_may_not(tmp_path: Path) -> None:
    study = InventedStudy(tmp_path)
    spec = study.runs[0]
    with study.begin(spec, 4) as open_run:
        (study.path(spec) / layout.BEST).write_bytes(b"weights")
        open_run.finish(done_result())
    path = study.path(spec)
    (path / layout.BEST).write_bytes(b"cut")
    assert isinstance(check_result(path, verify=False), Damaged)
    (path / layout.BEST).unlink()
    assert is_done(check_result(path))
    (path / layout.METRICS).unlink()
    assert "is missing" in str(check_result(path, verify=False))


def test_a_study_from_before_there_were_checksums_is_done_as_before(tmp_path: Path) -> None:
    study = InventedStudy(tmp_path)
    path = study.path(study.runs[0])
    path.mkdir()
    (path / layout.METRICS).write_text(json.dumps(step_line(32)) + "\n")
    (path / layout.RESULT).write_text(json.dumps(done_result()))
    assert study.folder.unfinished(study.runs[:1]) == ()
    (path / layout.RESULT).write_text(json.dumps(range_test_result()))
    assert study.folder.unfinished(study.runs[:1]) == ()


def test_a_folder_without_a_study_says_so(tmp_path: Path) -> None:
    with pytest.raises(NothingThereError, match="no study was started here"):
        StudyFolder(tmp_path).started()
    study = InventedStudy(tmp_path)
    (study.folder.path / layout.PACK).write_text("{}")
    with pytest.raises(StudyError, match=r"pack\.json: checksum: Field required; copy manifest\.json"):
        study.folder.started()
