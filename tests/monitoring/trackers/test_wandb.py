"""Weights & Biases without a network: what its client keeps for ``wandb sync``, read back."""

import json
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from needs import need_package
from trial_study import wait_until

from clr_hpc.monitoring.trackers.base import find_tracker
from clr_hpc.monitoring.trackers.mirror import Mirror, Mirrored

need_package("wandb")


HEADER, BLOCK = 7, 32_768


def records(data: bytes) -> Iterator[bytes]:
    """Yield what is in a client's file, in LevelDB's log format; kinds are 1 whole, 2 first, 3 middle, 4 last."""
    position, parts = HEADER, b""
    while position + HEADER <= len(data):
        if BLOCK - position % BLOCK < HEADER:  # no head fits into the rest of the block
            position += BLOCK - position % BLOCK
            continue
        _, length, kind = struct.unpack_from("<IHB", data, position)
        position += HEADER
        parts += data[position : position + length]
        position += length
        if kind in (1, 4):
            yield parts
            parts = b""


def whole(path: Path) -> list[Any]:
    """Return the records of a run, when its last one is there: a process of the client's own writes them."""
    from wandb.proto.wandb_internal_pb2 import Record

    found: list[Any] = []

    def is_closed() -> bool:
        found[:] = [Record.FromString(data) for data in records(path.read_bytes())]
        return any(one.WhichOneof("record_type") == "exit" for one in found)

    wait_until(is_closed, f"the end of {path}", seconds=60)
    return found


def kept(folder: Path) -> dict[str, dict[str, Any]]:
    """Return project, config, steps, summary and files of each run, by its name."""

    def values(items: Any) -> dict[str, Any]:
        return {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in items}

    found: dict[str, dict[str, Any]] = {}
    for path in sorted(folder.glob("trackers/wandb/wandb/offline-run-*/*.wandb")):
        name, run = "", {"steps": [], "summary": {}, "files": []}
        for record in whole(path):
            kind = record.WhichOneof("record_type")
            if kind == "run":
                name = record.run.display_name
                run |= {"project": record.run.project, "config": values(record.run.config.update)}
            elif kind == "history":
                run["steps"].append(values(record.history.item))
            elif kind == "summary":
                run["summary"] |= values(record.summary.update)
            elif kind == "artifact":
                run["files"] += [entry.path for entry in record.artifact.manifest.contents]
        assert name not in found, "a run is there twice"
        found[name] = run
    return found


def when_written(folder: Path) -> set[tuple[str, int]]:
    """Return the runs' files with their times: their names have whole seconds, so two tries can share one."""
    return {(path.name, path.stat().st_mtime_ns) for path in folder.glob("trackers/wandb/wandb/*/*.wandb")}


@pytest.fixture
def mirror(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Mirrored]:
    """Return what mirrors a study, each time as another process would."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_X_SERVICE_WAIT", "300")  # the client's own process starts slowly on a busy machine
    monkeypatch.setenv("WANDB_INIT_TIMEOUT", "300")
    for name in ("WANDB_DATA_DIR", "WANDB_ERROR_REPORTING"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)

    def mirrored(study: Any) -> Mirrored:
        with Mirror(study.folder, find_tracker("wandb")) as opened:
            return opened.round()

    return mirrored


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")
def test_a_run_is_kept_once_and_complete(
    invent_study: Callable[..., Any], mirror: Callable[[Any], Mirrored]
) -> None:
    study = invent_study()
    done, failed = study.runs[:2]
    study.finish(done)
    study.fail(failed, "OSError: the disk is full")
    found = mirror(study)
    assert str(found).startswith("wandb: 2 of 2 runs; send it: wandb sync "), found
    (study.folder.path / "report").mkdir()
    (study.folder.path / "report" / "report.html").write_text("the report")
    assert mirror(study).reason is None
    runs = kept(study.folder.path)
    assert len(runs) == 3
    shown = runs[next(name for name in runs if "baseline" in name)]
    assert shown["project"] == "invented"
    assert shown["config"]["policy"] == "cosine"
    assert [step["_step"] for step in shown["steps"]] == list(range(32, 641, 32))
    assert shown["steps"][-1]["auroc/validation"] == 0.9
    assert shown["summary"]["final/test_auroc"] == 0.65
    assert runs["report of invented"]["files"] == ["report.html"]
    written = when_written(study.folder.path)
    study.finish(failed)
    assert mirror(study).is_complete
    again = kept(study.folder.path)
    assert len(again) == 3, "the run that had failed takes its own place"
    shown = again[next(name for name in again if "control" in name)]
    assert [step["_step"] for step in shown["steps"]] == list(range(32, 641, 32))
    assert len(written & when_written(study.folder.path)) == 2, "what stood is not written again"
