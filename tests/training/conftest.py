"""Real processes that train one run together."""

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from made_once import made_once
from torch.distributed import TCPStore

from clr_hpc.config.run import RunSpec
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.splits import SeededSplit


class Ranks:
    """Warm processes, one a rank; one that was killed is started again when it is next needed."""

    def __init__(self, warnings: Sequence[str]) -> None:
        self._warnings = [f"-W{action}" for action in warnings]
        self._store = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._numbers = count()

    def train(
        self,
        spec: RunSpec,
        pack: Pack,
        folder: Path,
        size: int = 2,
        checkpoint_seconds: float = 1e9,
        double: bool = False,
        ranks: dict[int, dict[str, Any]] | None = None,
    ) -> list[dict[str, Any]]:
        """Have ``size`` processes train a run; return what each says at the end, ``died`` if it says nothing.

        ``ranks`` says what happens to some of them, see ``one_rank.py``.
        """
        order = {
            "name": f"run{next(self._numbers)}",
            "size": size,
            "spec": spec.model_dump(mode="json"),
            "pack": str(pack.folder),
            "folder": str(folder),
            "checkpoint_seconds": checkpoint_seconds,
            "timeout_seconds": 60,
            "double": double,
            "ranks": ranks or {},
        }
        processes = [self._process(rank) for rank in range(size)]
        for process in processes:
            print(json.dumps(order), file=process.stdin, flush=True)
        replies = [process.stdout.readline() if process.stdout else "" for process in processes]
        return [json.loads(reply) if reply else {"outcome": "died"} for reply in replies]

    def _process(self, rank: int) -> subprocess.Popen[str]:
        running = self._processes.get(rank)
        if running is None or running.poll() is not None:
            if running is not None:
                _close(running)
            script = Path(__file__).with_name("one_rank.py")
            self._processes[rank] = subprocess.Popen(
                [sys.executable, *self._warnings, script, str(rank), str(self._store.port)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
            )
        return self._processes[rank]

    def close(self) -> None:
        """End the processes."""
        for process in self._processes.values():  # all at once: each takes a second to leave
            _hang_up(process)
        for process in self._processes.values():
            _close(process)


def _hang_up(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


def _close(process: subprocess.Popen[str]) -> None:
    assert process.stdout is not None
    _hang_up(process)
    process.wait(timeout=60)
    process.stdout.close()


@pytest.fixture(scope="session")
def tiny_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """90 phantom films at 64 × 64, of which 50 to 60 are trained on."""

    def build(folder: Path) -> None:
        split = SeededSplit(validation_fraction=0.3, test_fraction=0.1)
        build_pack(PhantomSource(images=90), folder / "tiny", 64, split, workers=1)

    return Pack.open(made_once(tmp_path_factory, "tiny", build) / "tiny")


@pytest.fixture(scope="session")
def ranks(pytestconfig: pytest.Config) -> Iterator[Ranks]:
    """Processes that train runs together, in which warnings are what they are in the tests."""
    processes = Ranks(pytestconfig.getini("filterwarnings"))
    yield processes
    processes.close()
