import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from markupsafe import Markup
from trial_study import wait_until

from clr_hpc.reporting.figures.select import Drawing
from clr_hpc.reporting.page import packed
from clr_hpc.reporting.page.packed import PackedFigures, pack
from clr_hpc.store.cache.blocks import KeptBlocks


def test_figures_are_drawn_though_the_processes_that_draw_them_are_killed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    here = os.getpid()

    def draw() -> Markup:
        if os.getpid() != here:
            os.kill(os.getpid(), signal.SIGKILL)
        return Markup("<svg/>")

    monkeypatch.setattr(packed, "MOST_DRAWN", 0)
    monkeypatch.setattr(packed, "WORTH_A_PROCESS", 1)
    monkeypatch.setattr(packed, "usable_cores", lambda: 2)
    section = [Drawing(name, {}, [draw], content=name.encode) for name in "abc"]
    figures = PackedFigures(KeptBlocks(None))
    figures.prepare([section])
    assert [figures(drawing) for drawing in section] == [pack("<svg/>")] * 3
    assert "this one draws them" in caplog.text


DRAWS_FOR_EVER = """
import os, sys, time
from pathlib import Path
from clr_hpc.reporting.figures.select import Drawing
from clr_hpc.reporting.page import packed
from clr_hpc.store.cache.blocks import KeptBlocks

def draw():
    (Path(sys.argv[1]) / str(os.getpid())).touch()
    time.sleep(600)

packed.MOST_DRAWN, packed.WORTH_A_PROCESS, packed.usable_cores = 0, 1, lambda: 2
section = [Drawing(name, {}, [draw], content=name.encode) for name in "abcd"]
packed.PackedFigures(KeptBlocks(None)).prepare([section])
"""


@pytest.mark.commands
def test_the_processes_end_with_one_that_is_killed(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", DRAWS_FOR_EVER, tmp_path])
    wait_until(lambda: len(list(tmp_path.iterdir())) == 2, "both to draw")
    process.kill()
    process.wait()
    wait_until(lambda: not any(Path("/proc", path.name).exists() for path in tmp_path.iterdir()), "them to end")
