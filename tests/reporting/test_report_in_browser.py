"""The report in a real browser: it runs, it shows what it should, and it needs nothing from outside."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from clr_hpc.reporting.page import packed, template
from clr_hpc.reporting.report import write_report

pytestmark = pytest.mark.browser

PROBE = """
<script>
addEventListener("load", async () => {
  const shown = (selector) => [...document.querySelectorAll(selector)].filter((element) => element.offsetParent);
  const heads = [...document.querySelectorAll("#results th")];
  const column = (name) => heads.findIndex((head) => head.innerText.startsWith(name));
  const values = (name) => shown("#results tbody tr").map((row) => row.cells[column(name)].innerText);
  const seen = { rows: shown("#results tbody tr").length, figures: shown("#curves figure").length };
  seen.curve = document.querySelector("#curves figure:not([hidden]) svg").getBoundingClientRect().width;
  seen.stroke = getComputedStyle(document.querySelector('#curves path[style*="--policy-0"]')).stroke;
  seen.first = shown("#curves figure h3")[0].innerText;
  [...document.querySelectorAll("#curves .chooser button")].at(-1).click();
  seen.heading = shown("#curves figure h3")[0].innerText;
  const drawn = () => document.querySelectorAll("#curves figure:not([hidden]) svg").length;
  const pause = () => new Promise((done) => setTimeout(done, 100));
  for (let wait = 0; wait < 50 && !drawn(); wait++) await pause();
  seen.drawn = drawn();
  const specs = [...document.querySelectorAll("#provenance > details")].at(-1);
  specs.open = true;
  for (let wait = 0; wait < 50 && !specs.querySelector("pre"); wait++) await pause();
  seen.specs = specs.querySelectorAll("pre").length;
  document.querySelectorAll("#results th button")[column("AUROC")].click();
  seen.sorted = values("AUROC").map((text) => Number(text.split(" ")[0]));
  seen.direction = document.querySelector("#results [aria-sort]").getAttribute("aria-sort");
  const select = document.querySelectorAll("#results-section select")[0];
  select.value = "Edema";
  select.dispatchEvent(new Event("input", { bubbles: true }));
  seen.filtered = values("Pathology");
  const told = Object.assign(document.createElement("pre"), { id: "seen", textContent: JSON.stringify(seen) });
  document.body.replaceChildren(told);
});
</script>
"""


def console(finished: subprocess.CompletedProcess[str]) -> list[str]:
    """Return what the page wrote to the console, blocked requests and script errors among it."""
    return [line for line in finished.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.parametrize("most_drawn", [packed.MOST_DRAWN, 0])
def test_tables_curves_and_choosers_work_offline(
    make_study: Callable[..., Path],
    browse: Callable[..., subprocess.CompletedProcess[str]],
    monkeypatch: pytest.MonkeyPatch,
    most_drawn: int,
) -> None:
    monkeypatch.setattr(packed, "MOST_DRAWN", most_drawn)
    monkeypatch.setattr(template, "MOST_SPECS", most_drawn)
    report = write_report(make_study(pathologies=("effusion", "pneumothorax", "pleural_thickening", "edema")))
    assert ("data-packed=" in report.read_text()) == (most_drawn == 0)
    probed = report.with_name("probed.html")
    probed.write_text(report.read_text().replace("</body>", PROBE + "</body>"))
    finished = browse(probed, "--dump-dom", "--window-size=1300,2400", "--virtual-time-budget=20000")
    assert console(finished) == []
    match = re.search(r'<pre id="seen">(.*?)</pre>', finished.stdout)
    assert match is not None
    seen = json.loads(match[1])
    assert seen["rows"] == 12
    assert seen["figures"] == 1
    assert seen["curve"] > 300
    assert seen["stroke"] == "rgb(0, 114, 178)"
    assert seen["first"] == "Pneumothorax: MobileNetV1, SGD"
    assert seen["heading"] == "Pleural thickening: MobileNetV1, SGD"
    assert seen["drawn"] == 2
    assert seen["specs"] == 12
    assert seen["direction"] == "descending"
    assert seen["sorted"] == sorted(seen["sorted"], reverse=True)
    assert seen["filtered"] == ["Edema"] * 3


@pytest.mark.parametrize(("scheme", "darkest", "brightest"), [("light", 240, 255), ("dark", 10, 40)])
def test_a_screenshot_in_light_and_dark(
    make_study: Callable[..., Path],
    browse: Callable[..., subprocess.CompletedProcess[str]],
    tmp_path: Path,
    scheme: str,
    darkest: int,
    brightest: int,
) -> None:
    report = write_report(make_study(), "none")
    themed = report.with_name("themed.html")
    themed.write_text(report.read_text().replace("<html ", f'<html data-theme="{scheme}" '))
    picture = tmp_path / "report.png"
    finished = browse(themed, f"--screenshot={picture}", "--window-size=1300,2400")
    assert console(finished) == []
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (2400, 1300)
    assert darkest <= np.median(pixels) <= brightest
    assert len(np.unique(pixels)) > 50
