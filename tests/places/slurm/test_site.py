"""The site file: what is checked on the login node, and the example that ships with the project."""

import sys
from pathlib import Path

import pytest
import yaml

from clr_hpc.places.slurm.site import Site, SiteError, load_site


def write(folder: Path, **values: object) -> Path:
    file = folder / "site.yaml"
    file.write_text(yaml.safe_dump({"cpus": 8, "time_limit_minutes": 60, "shared_folder": str(folder)} | values))
    return file


def test_what_runs_at_once_comes_from_gpus_or_cpus(tmp_path: Path) -> None:
    on_cpus, on_gpus = load_site(write(tmp_path)), load_site(write(tmp_path, gpus=2))
    assert (on_cpus.processes, on_cpus.threads) == (8, 1)
    assert (on_gpus.processes, on_gpus.threads) == (2, 4)
    assert load_site(write(tmp_path, gpus=1, runs_at_once=3)).processes == 3


def test_python_is_that_of_the_container_or_the_one_that_submits(tmp_path: Path) -> None:
    assert load_site(write(tmp_path)).command == sys.executable
    contained = load_site(write(tmp_path, container="apptainer exec --nv image.sif"))
    assert contained.command == "apptainer exec --nv image.sif python"
    assert load_site(write(tmp_path, python="/opt/my python")).command == "'/opt/my python'"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"partitoin": "gpu"}, "did you mean 'partition'"),
        ({"shared_folder": "/nowhere/at/all"}, "must be the absolute path of a folder that is there"),
        ({"shared_folder": "results"}, "must be the absolute path"),
        ({"signal_seconds": 1}, "greater than or equal to 15"),
        ({"cpus": 0}, "cpus: "),
        ({"time_limit_minutes": "1-00:00:00"}, "time_limit_minutes: "),
    ],
)
def test_mistakes_are_named(tmp_path: Path, values: dict[str, object], message: str) -> None:
    with pytest.raises(SiteError, match=message):
        load_site(write(tmp_path, **values))


@pytest.mark.parametrize(
    "content", [b"\xff", b"[" * 5000, b"cpus: !!int ''", b"\x00"], ids=["bytes", "deep", "int", "nul"]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "site.yaml").write_bytes(content)
    with pytest.raises(SiteError, match=r"site\.yaml: "):
        load_site(tmp_path / "site.yaml")


def test_a_missing_file_says_where_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(SiteError, match="clr-hpc init writes one"):
        load_site(tmp_path / "none.yaml")


def test_the_example_explains_every_key_and_can_be_used(repository: Path, tmp_path: Path) -> None:
    for_editors, _, text = (repository / "slurm" / "site.example.yaml").read_text().partition("\n")
    assert "$schema" in for_editors
    for key in Site.model_fields:
        assert f"\n{key}:" in text or f"\n# {key}:" in text, f"{key} is not explained"
    everything = "\n".join(
        line.removeprefix("# ") if line.startswith("# ") and ":" in line.split("#", 2)[1].split()[0] else line
        for line in text.splitlines()
    )
    values = yaml.safe_load(everything) | {"shared_folder": str(tmp_path)}
    assert set(values) == set(Site.model_fields)
    Site.model_validate(values)
