"""``clr-hpc show`` says of each value where it is from, and writes nothing."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.cli.display.origins import values_of_run, values_of_study
from clr_hpc.config.expand import expand, with_placeholders
from clr_hpc.config.load import load_study, shipped_studies
from clr_hpc.config.yaml_file import read_yaml


def show(*words: str) -> str:
    done = CliRunner().invoke(app, ["show", *words])
    assert done.exit_code == 0, done.output
    return done.output


def row(text: str, key: str) -> list[str]:
    (found,) = (line.split() for line in text.splitlines() if line.split()[:1] == [key])
    return found[1:]


def test_values_have_their_origin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = show("quickstart", "--set", "batch_size=8", "--set", "keep.best=false")
    assert row(text, "training.batch_size") == ["8", "--set"]
    assert row(text, "training.image_size") == ["32", "file"]
    assert row(text, "training.precision") == ["float32", "default"]
    assert row(text, "training.rate_scaling") == ["–", "default"]
    assert row(text, "keep.best") == ["false", "--set"]
    assert row(text, "keep.last") == ["true", "default"]
    assert row(text, "optimizers[0].name") == ["adam", "file"]
    assert row(text, "optimizers[0].beta1") == ["0.9", "default"]
    assert "half_cycle_epochs 0.5 (file)" in text
    assert "lr_max 0.001 (its baseline)" in text
    assert "disk and time are known once there is a pack: " in text
    assert not list(tmp_path.iterdir())


def test_all_values_of_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = show("quickstart", "--run", "effusion.densenet121.adam.retrain", "--set", "stages.retrain.epochs=1")
    assert row(text, "training.epochs") == ["1", "--set"]
    assert row(text, "policy.lr_min") == ["0.0001", "file"]
    assert row(text, "start.weights") == ["last", "default"]
    assert CliRunner().invoke(app, ["show", "quickstart", "--run", "absent"]).exit_code == 2


def test_rates_to_be_measured_are_auto(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = show("quickstart", "--set", "rates=auto")
    assert row(text, "rates.adam.lr_max") == ["auto", "--set"]
    assert "lr_max auto (not measured yet)" in text
    assert "LR range tests for them are not done; run them with 'clr-hpc range-test'" in text
    assert not list(tmp_path.iterdir())


def test_a_run_fitted_to_features_has_its_methods_values_and_no_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    methods = "one_class=[{methods: [{name: nearest_neighbours, neighbours: 7}], features_of: effusion}]"
    text = show("quickstart", "--set", methods, "--run", "neighbours.densenet121")
    assert row(text, "method.neighbours") == ["7", "--set"]
    assert "policy." not in text
    assert "optimizer." not in text


def test_trials_of_a_search_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "clr-hpc tune trains up to 16 trials besides these runs" in show("tune")


@pytest.mark.parametrize("name", [*shipped_studies()])
def test_every_run_of_every_study_knows_where_it_is_from(name: str) -> None:
    raw = read_yaml(shipped_studies()[name])
    study = with_placeholders(load_study(Path(name)))
    origins = {value.key: value.origin for value in values_of_study(study, raw, ())}
    runs = expand(study, "0" * 64)
    found = {value.origin for spec in runs[::7] for value in values_of_run(spec, study, origins)}
    assert found >= {"file", "default"}


def test_rates_that_were_measured_say_so() -> None:
    study = load_study(Path("quickstart"), ("rates.adam=auto",))
    raw = read_yaml(shipped_studies()["quickstart"])
    measured = with_placeholders(study)
    origins = {value.key: value.origin for value in values_of_study(measured, raw, ("rates.adam=auto",))}
    assert origins["rates.adam.lr_max"] == "--set"
    assert "measured" in origins.values()
    retrained = next(spec for spec in expand(measured, "0" * 64) if spec.stage == "retrain")
    found = {value.key: value.origin for value in values_of_run(retrained, measured, origins)}
    assert found["policy.lr_max"] == "measured"
    assert found["policy.half_cycle_epochs"] == "file"
