from pathlib import Path

import made_collections
import pytest
import tiny_run
import torch

from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.presets.source import preset_source
from clr_hpc.data.splits import OfficialSplit, SeededSplit
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("own_split", [True, False], ids=["own", "published"])
def test_a_one_class_model_learns_from_chexperts_no_finding(tmp_path: Path, own_split: bool) -> None:
    table = made_collections.chexpert(tmp_path / "data")
    source = preset_source("chexpert")(tmp_path / "data", own_split=own_split)
    split = SeededSplit(validation_fraction=0.3) if own_split else OfficialSplit()
    build_pack(source, tmp_path / "pack", 32, split, workers=1)
    pack = Pack.open(tmp_path / "pack")
    assert (
        sum(of.labels["no_finding"].positive for of in pack.manifest.counts.splits.values())
        == (table["No Finding"].drop(index=[2, 3]) == 1).sum()
    )
    task = {"kind": "one_class", "normal": "no_finding", "method": {"name": "autoencoder"}}
    spec = tiny_run.make_spec(pack, {"epochs": 1, "batch_size": 4}, task=task)
    group = ProcessGroup.alone(torch.device("cpu"))
    assert train_run(spec, pack, tmp_path / "run", group, lambda: False, RunSettings(1e9), "test") == "done"
    assert RunFolder(tmp_path / "run").is_done
