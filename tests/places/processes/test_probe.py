"""``clr-hpc plan`` as a user starts it, with real measurements on this machine."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.data.pack import Pack
from clr_hpc.planning.throughput import read_throughput


@pytest.fixture
def write_study(small_pack: Pack, tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        values = {
            "name": "trial",
            "pack": str(small_pack.folder),
            "pathologies": ["cardiomegaly", "effusion"],
            "optimizers": ["sgd"],
            "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.01}},
            "stages": {
                "baseline": {"policies": ["constant"]},
                "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 1}]},
            },
            "training": {"epochs": 2, "image_size": 32, "batch_size": 32},
        }
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(values | changes))
        return path

    return write


def plan(study: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["plan", str(study), "--results", str(study.parent / "results"), *options])


def rates_files(study: Path) -> list[Path]:
    return list((study.parent / "results" / "rates").glob("*.json"))


def test_a_plan_is_measured_once_and_then_made_from_the_kept_rates(write_study: Callable[..., Path]) -> None:
    study = write_study()
    chart = study.parent / "plan.svg"
    first = plan(study, "--cpus", "1", "--chart", str(chart))
    assert first.exit_code == 0, first.stderr
    assert "6 runs, 0 done before" in first.stdout
    assert "predicted makespan" in first.stdout
    assert chart.read_text().count("<path") > 6
    (file,) = rates_files(study)
    (rate,) = read_throughput(file).rates
    assert (rate.network, rate.image_size, rate.batch_size) == ("mobilenet_v1", 32, 32)
    assert rate.memory_bytes > 100 * 2**20, "torch alone is more"
    assert list(file.parent.iterdir()) == [file], "nothing of the measurement is left"
    # a kept rate is used, whatever it is: here one so slow that it shows
    values = json.loads(file.read_text())
    values["rates"][0]["images_per_second"] = 0.01
    file.write_text(json.dumps(values))
    again = plan(study, "--cpus", "1")
    assert again.exit_code == 0, again.stderr
    hours = int(again.stdout.split("predicted makespan")[1].split(":")[0].replace(",", ""))
    assert hours > 10
    assert not (study.parent / "results" / "trial").exists(), "planning leaves the study's folder alone"


def test_recorded_rates_plan_for_hardware_that_is_not_here(write_study: Callable[..., Path]) -> None:
    study = write_study()
    none = plan(study, "--gpus", "8", "--on", "ray")
    assert none.exit_code == 2
    assert "this machine has no GPU to measure on; give --throughput FILE" in none.stderr
    rates = study.parent / "rates.json"
    rate = {"network": "mobilenet_v1", "image_size": 32, "batch_size": 32, "gpus_per_worker": 1}
    rate |= {"images_per_second": 100, "evaluated_per_second": 300, "memory_bytes": 2**30}
    rates.write_text(json.dumps({"rates": [rate]}))
    made = plan(study, "--gpus", "8", "--on", "ray", "--rates", str(rates))
    assert made.exit_code == 0, made.stderr
    assert "GPU hours" in made.stdout
    assert "1.00 GiB per GPU" in made.stdout
    assert not rates_files(study)


def test_a_measurement_that_fails_says_why(write_study: Callable[..., Path]) -> None:
    study = write_study(training={"epochs": 1, "image_size": 96, "batch_size": 16})
    outcome = plan(study, "--cpus", "1")
    assert outcome.exit_code == 2
    assert "image_size=96 is larger than the pack's 64 pixels" in outcome.stderr
    assert "Traceback" not in outcome.stderr
