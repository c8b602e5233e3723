import os
import signal

import pytest
from markupsafe import Markup

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
