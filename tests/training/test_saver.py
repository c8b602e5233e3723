"""A thread writes what was there when it was handed over, and none of its failures is lost."""

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_run import make_spec
from torch import Tensor

from clr_hpc.data.pack import Pack
from clr_hpc.training import saver
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.saver import BackgroundWriter


def test_what_changes_after_the_hand_over_is_not_written() -> None:
    writer, may_write = BackgroundWriter(), threading.Event()
    weights = torch.zeros(3, 2, 2, 2).to(memory_format=torch.channels_last)

    def write(tensors: dict[str, Tensor]) -> float:
        may_write.wait()
        assert tensors["weights"].is_contiguous()  # as files want it, so that nobody copies it again
        return float(tensors["weights"].sum())

    written = writer.hand_over({"weights": weights}, write)
    weights.add_(1)
    assert not writer.is_idle
    may_write.set()
    assert written.result() == 0
    writer.wait()
    assert writer.is_idle


def test_a_failure_is_raised_by_the_next_call_once() -> None:
    writer = BackgroundWriter()
    reached = []

    def fill_the_disk(_: dict[str, Tensor]) -> None:
        raise OSError("no space left")

    writer.hand_over({}, fill_the_disk)
    with pytest.raises(OSError, match="no space left"):
        writer.hand_over({}, reached.append)
    assert reached == []
    writer.wait()
    writer.hand_over({}, reached.append)
    writer.wait()
    assert len(reached) == 1


def test_a_process_holds_one_copy_at_a_time() -> None:
    one, other, may_write = BackgroundWriter(), BackgroundWriter(), threading.Event()
    one.hand_over({}, lambda _: may_write.wait())
    handed_over = threading.Event()

    def hand_over() -> None:
        other.hand_over({}, lambda _: None)
        handed_over.set()

    second = threading.Thread(target=hand_over)
    second.start()
    assert not handed_over.wait(0.2)
    may_write.set()
    assert handed_over.wait(10)
    second.join()


def test_a_run_whose_files_could_not_be_written_has_failed(
    small_pack: Pack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill_the_disk(*_: Any) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(saver, "save_tensors", fill_the_disk)
    spec = make_spec(small_pack)
    alone = ProcessGroup.alone(torch.device("cpu"))
    assert train_run(spec, small_pack, tmp_path / "run", alone, bool, RunSettings(1e9), "") == "failed"
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert "no space left" in result["reason"]
    assert "fill_the_disk" in result["traceback"]
