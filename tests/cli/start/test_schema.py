"""The schemas that editors read: up to date, complete, and of one opinion with what reads the files."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.load import StudyError, load_study, shipped_studies
from clr_hpc.config.yaml_file import parse_yaml, read_yaml
from clr_hpc.places.slurm.site import SiteError, load_site


def schema(kind: str) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(CliRunner().invoke(app, ["schema", kind]).stdout)
    return printed


def mistakes(kind: str, values: Any) -> list[str]:
    """Return where the schema finds something wrong, and what."""
    found = Draft202012Validator(schema(kind)).iter_errors(values)
    return [f"{error.json_path}: {error.message}" for error in found]


@pytest.mark.parametrize(("kind", "folder"), [("study", "jobs"), ("site", "slurm")])
def test_shipped_schemas_are_those_of_the_models(kind: str, folder: str, repository: Path) -> None:
    """``clr-hpc schema study > jobs/study.schema.json`` mends the first, the same with site the second."""
    Draft202012Validator.check_schema(schema(kind))
    shipped = repository / folder / f"{kind}.schema.json"
    assert json.loads(shipped.read_text()) == schema(kind), shipped


def described(part: Any, path: str = "$") -> Iterator[tuple[str, bool]]:
    """Yield every key of a schema that a file may have, and whether it is explained."""
    if isinstance(part, list):
        for number, entry in enumerate(part):
            yield from described(entry, f"{path}[{number}]")
    elif isinstance(part, dict):
        for name, key in part.get("properties", {}).items():
            yield f"{path}.{name}", "const" in key or len(key.get("description", "")) > 9
        for name, value in part.items():
            yield from described(value, f"{path}.{name}")


@pytest.mark.parametrize("kind", ["study", "site"])
def test_every_key_is_explained(kind: str) -> None:
    keys = list(described(schema(kind)))
    assert len(keys) > 15
    assert [path for path, is_explained in keys if not is_explained] == []
    assert "None" not in json.dumps(schema(kind)), "which is not YAML"


def test_shipped_files_begin_with_the_line_that_editors_look_for(repository: Path) -> None:
    for file in [*shipped_studies().values(), repository / "slurm" / "site.example.yaml"]:
        opening, _, name = file.read_text().splitlines()[0].partition("=")
        assert opening == "# yaml-language-server: $schema"
        assert Draft202012Validator(json.loads((file.parent / name).read_text())).is_valid(read_yaml(file))
    printed = CliRunner().invoke(app, ["studies", "tune"]).stdout.splitlines()[0]
    assert Path(printed.partition("=")[2]).is_absolute(), "a copy may lie anywhere"
    assert Path(printed.partition("=")[2]).exists()


def test_what_a_study_folder_keeps_is_valid() -> None:
    for file in shipped_studies().values():
        study = load_study(file)
        assert mistakes("study", json.loads(study.model_dump_json())) == []


STUDY = """
name: mine
pack: packs/mine
pathologies: [effusion]
optimizers: [sgd, {name: adam, beta1: 0.8}]
rates: {sgd: auto, adam: {lr_min: 1e-4, lr_max: auto}}
stages:
  pretrain: {policies: [{name: cosine, lr_max: 0.1, lr_min: 0}], augmentation: {brightness_fraction: 0.5}}
  baseline: {policies: [{name: step, step_epochs: 2}, cosine], epochs: 3}
  retrain: {policies: [{name: triangular, lr_max: auto}], control: {sgd: 0.1, adam: 0.01}}
one_class: [{methods: [padim], features_of: pretrain}]
training: {epochs: 3, select: {view: frontal}}
"""
MISTAKES_OF_STUDY = {
    "misspelt key": "pathologys: [effusion]",
    "misspelt key inside": "training: {epochs: 3, batchsize: 4}",
    "key of another place": "epochs: 3",
    "no number": "training: {epochs: three}",
    "negative": "training: {epochs: -1}",
    "no whole number": "training: {epochs: 1.5}",
    "missing": "training: {batch_size: 3}",
    "unknown word": "training: {epochs: 3, precision: float16}",
    "another unknown word": "training: {epochs: 3, class_imbalance: weights}",
    "view": "training: {epochs: 3, select: {view: lateral}}",
    "probability": "training: {epochs: 3, augmentation: {flip_probability: 2}}",
    "optimizer": "optimizers: [sdg]",
    "setting of another optimizer": "optimizers: [{name: sgd, beta1: 0.9}]",
    "optimizer without a name": "optimizers: [{nesterov: true}]",
    "rate of no optimizer": "rates: {sgdm: auto}",
    "one bound": "rates: {sgd: {lr_max: 1}, adam: auto}",
    "word for a rate": "rates: {sgd: measured, adam: auto}",
    "policy": "stages: {baseline: {policies: [exponental]}}",
    "setting of another policy": "stages: {baseline: {policies: [{name: constant, gamma: 0.5}]}}",
    "policy without what it needs": "stages: {baseline: {policies: [{name: step}]}}",
    "policy of range tests": "stages: {baseline: {policies: [ramp]}}",
    "growth": "stages: {baseline: {policies: [{name: exponential, gamma: 1.5}]}}",
    "stage": "stages: {warm_up: {policies: [constant]}}",
    "seed": "seeds: [-1]",
    "one seed": "seeds: 0",
    "margin": "question: {margin: 0.9}",
    "method": "one_class: [{methods: [svdd]}]",
    "search": "tune: {search: bayes, trials: 3, space: {batch_size: [4, 8]}}",
}


def test_a_study_in_all_its_forms_is_valid(tmp_path: Path) -> None:
    (tmp_path / "study.yaml").write_text(STUDY)
    load_study(tmp_path / "study.yaml")
    assert mistakes("study", parse_yaml(STUDY)) == []


@pytest.mark.parametrize("mistake", MISTAKES_OF_STUDY.values(), ids=MISTAKES_OF_STUDY)
def test_the_schema_finds_what_the_command_rejects(mistake: str, tmp_path: Path) -> None:
    values = parse_yaml(STUDY) | parse_yaml(mistake)
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(values))
    with pytest.raises(StudyError):
        load_study(tmp_path / "study.yaml")
    assert mistakes("study", values) != []


@pytest.mark.parametrize(
    "mistake", ["gpu: 1", "cpus: 0", "signal_seconds: 5", "setup: module load cuda", "extra: [course]"]
)
def test_the_schema_finds_what_a_site_can_not_be(mistake: str, tmp_path: Path) -> None:
    site = {"cpus": 4, "time_limit_minutes": 60, "shared_folder": str(tmp_path)}
    assert mistakes("site", site) == []
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(site | parse_yaml(mistake)))
    with pytest.raises(SiteError):
        load_site(tmp_path / "site.yaml")
    assert mistakes("site", site | parse_yaml(mistake)) != []


def test_a_place_without_a_site_file_has_no_schema_of_one() -> None:
    done = CliRunner().invoke(app, ["schema", "site", "--on", "here"])
    assert done.exit_code == 2
    assert "no site file" in done.output
