"""Whether a study becomes an array or an allocation."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from trial_study import STUDY

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.places.options import TrainingOptions
from clr_hpc.places.slurm.shape import ChosenShape, ShapeError, choose
from clr_hpc.places.slurm.site import Site
from clr_hpc.planning.throughput import Throughput, ThroughputTable


def runs_of(folder: Path, pack: Pack, epochs: int) -> tuple[RunSpec, ...]:
    """Return one long chain."""
    changes = {"pack": str(pack.folder), "training": {"epochs": epochs, "image_size": 32, "batch_size": 256}}
    stages = {"stages": {"scratch": {"policies": ["constant"]}}}
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY | changes | stages))
    return expand(load_study(folder / "study.yaml", ()), pack.manifest.checksum)


RATES = ThroughputTable(
    rates=(
        Throughput(
            network="mobilenet_v1",
            image_size=32,
            batch_size=256,
            gpus_per_worker=1.0,
            images_per_second=10,
            evaluated_per_second=30,
        ),
    )
)


def chosen(
    tmp_path: Path, pack: Pack, epochs: int = 1000, table: ThroughputTable | None = RATES, **asked: Any
) -> ChosenShape:
    site = {"gpus": 4, "cpus": 8, "time_limit_minutes": 60, "shared_folder": tmp_path, "nodes": 4}
    site |= asked.pop("site", {})
    return choose(TrainingOptions(**asked), runs_of(tmp_path, pack, epochs), pack.folder, Site(**site), table)


def test_auto_takes_lanes_where_they_end_clearly_sooner(tmp_path: Path, small_pack: Pack) -> None:
    long = chosen(tmp_path, small_pack)
    assert long.shape == "allocation", "one long run that four GPUs can share"
    assert "an array would take" in long.text
    short = chosen(tmp_path, small_pack, epochs=1)
    assert short.shape == "array", "Ray would take longer to start"
    assert "an array would take" in short.text


def test_auto_takes_an_array_where_it_knows_nothing(tmp_path: Path, small_pack: Pack) -> None:
    assert chosen(tmp_path, small_pack, table=None).text.startswith("array: no --throughput FILE")
    assert "no plan" in chosen(tmp_path, small_pack, table=ThroughputTable(rates=())).text
    assert "neither --nodes" in chosen(tmp_path, small_pack, site={"nodes": None}).text


def test_what_is_asked_for_is_taken(tmp_path: Path, small_pack: Pack) -> None:
    assert chosen(tmp_path, small_pack, shape="array").text == "array: as asked"
    assert (
        chosen(tmp_path, small_pack, shape="allocation", nodes=3, table=None).text
        == "allocation of 3 nodes: as asked"
    )
    assert chosen(tmp_path, small_pack, workers_per_lane=8, table=None).nodes == 2, "as many as have a GPU to do"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"nodes": 5}, "--nodes 5 is above nodes=4 of the site file"),
        ({"shape": "array", "lanes": 1, "nodes": 2}, "--nodes, --lanes are for allocations"),
        ({"shape": "allocation", "parallel": 2}, "--parallel is for arrays"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, small_pack: Pack, asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ShapeError, match=message):
        chosen(tmp_path, small_pack, **asked)
