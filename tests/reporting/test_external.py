import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from clr_hpc.config.run import RunSpec
from clr_hpc.reporting.external import EvaluationPage, write_evaluation_page
from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.read.study import ReportError
from clr_hpc.reporting.stats.bootstrap import Sampled, patient_draws
from clr_hpc.reporting.stats.difference import difference_of_independent
from clr_hpc.reporting.stats.external import expected_over_observed
from clr_hpc.store.evaluations import write_evaluation
from clr_hpc.store.records import DamagedError
from clr_hpc.store.study_folder import StudyFolder

FINDINGS = ("effusion", "pneumothorax")
Evaluate = Callable[..., EvaluationPage]


@pytest.fixture
def evaluate(make_study: Callable[..., Path]) -> Evaluate:
    """Return what writes an evaluation with invented scores, and its page."""

    def make(skill: float = 1.0, patients: int = 200, gap: str | None = None, **overlap: Any) -> EvaluationPage:
        """Invent an evaluation.

        Args:
            skill: how far positives stand above negatives elsewhere; 1.5 in the study.
            patients: elsewhere, of two images each.
            gap: why the second finding is not scored there.
            overlap: of the record.
        """
        study = make_study(pathologies=FINDINGS, skill={"constant": 1.0})
        specs = {spec.task.name: spec for spec in StudyFolder(study).started().runs}
        parts = [
            scores(side, number, how_good, count)
            for number in range(len(FINDINGS))
            for side, how_good, count in (("internal", 1.5, 150), ("external", skill, patients))
            if not (gap and number == 1 and side == "external")
        ]
        evaluated: Any = {
            "study": "invented",
            "own_pack": "0" * 64,
            "pack": {"name": "away", "checksum": "1" * 64, "split": None, "images": 400, "patients": 200},
            "device": "cpu",
            "overlap": {"seen_images": [], "seen_patients": [], "left_out": 0, "tested": []} | overlap,
            "settings": [
                setting(specs[name], gap if number == 1 else None) for number, name in enumerate(FINDINGS)
            ],
        }
        folder = study / "evaluations" / "away"
        write_evaluation(folder, evaluated, pd.concat(parts, ignore_index=True))
        return write_evaluation_page(folder)

    return make


def setting(spec: RunSpec, gap: str | None) -> dict[str, Any]:
    return {
        "spec": spec,
        "model": "last",
        "seeds": [0],
        "is_best": True,
        "validation_auroc": 0.7,
        "threshold": 0.6,
        "calibration": "logistic",
        "unlabelled": 0,
        "gap": gap,
    }


def scores(side: str, number: int, skill: float, patients: int) -> pd.DataFrame:
    """Return two images of each patient; the probability is right, the raw score has four times its odds."""
    generator = np.random.default_rng([number, *side.encode()])
    signal = skill * generator.normal(size=2 * patients) - 1
    truth = 1 / (1 + np.exp(-signal))
    return pd.DataFrame(
        {
            "side": side,
            "setting": number,
            "image": [f"{side}-{image}.png" for image in range(2 * patients)],
            "patient": [f"{image // 2}" for image in range(2 * patients)],
            "view": np.resize(["PA", "AP", "PA"], 2 * patients),
            "sex": np.resize(["F", "F", "M", "M"], 2 * patients),
            "age_years": np.resize([30.0, 50.0, 70.0], 2 * patients),
            "label": (generator.random(2 * patients) < truth).astype(np.int8),
            "score": 4 * truth / (1 + 3 * truth),
            "calibrated": truth,
        }
    )


def test_a_loss_elsewhere_is_the_first_thing_said(evaluate: Evaluate) -> None:
    page = evaluate(skill=0.2)
    assert page.answer[0].startswith(
        "On 400 images of 200 patients of away, the mean AUROC over 2 findings is 0.5"
    )
    assert "these models are worse on these patients than on those of their own collection" in page.answer[0]
    assert page.answer[1] == (
        "Nobody is left out: no file is one of a patient whom the study has trained or validated on."
    )
    table = pd.read_csv(page.path.with_name("results.csv"))
    assert (table["difference_auroc_high"] < 0).all()
    assert (table["difference_auroc_p_holm"] < 0.05).all()
    groups = pd.read_csv(page.path.with_name("subgroups.csv"))
    assert groups["slice"].tolist() == ["AP", "PA", "F", "M", "under 40", "40 to 60", "60 and over"]
    assert groups["external_images"].groupby(groups["by"]).sum().tolist() == [400, 400, 400]


def test_where_nothing_is_shown_the_page_says_what_is_excluded(evaluate: Evaluate) -> None:
    assert "no difference is shown; a loss of more than 0.0" in evaluate(skill=1.5).answer[0]


def test_calibration_is_judged_before_and_after(evaluate: Evaluate) -> None:
    table = pd.read_csv(evaluate(skill=1.5).path.with_name("results.csv"))
    for side in ("internal", "external"):
        assert (table[f"{side}_expected_observed_low"] > 1.2).all(), "raw scores hold the weight of positives"
        assert (table[f"{side}_expected_observed_calibrated_low"] < 1).all()
        assert (table[f"{side}_expected_observed_calibrated_high"] > 1).all()
        assert (table[f"{side}_brier_calibrated"] < table[f"{side}_brier"]).all()


def test_who_is_left_out_and_what_is_not_judged(evaluate: Evaluate) -> None:
    page = evaluate(
        gap="the pack has no label pneumothorax",
        seen_images=["a.png", "<b>.png"],
        seen_patients=["7"],
        left_out=5,
        tested=["c.png"],
    )
    text = page.path.read_text()
    assert "the AUROC of Effusion is" in page.answer[0]
    assert page.answer[1].startswith(
        "Left out: 5 images of 1 patient, since 2 files of the pack are among those of"
    )
    assert "1 file is among the study’s own test images" in page.answer[1]
    assert page.answer[2] == "Not judged: Pneumothorax (the pack has no label pneumothorax)."
    assert "a.png, &lt;b&gt;.png" in text
    assert 'id="gaps"' in text


def test_nothing_to_compare_is_said(evaluate: Evaluate) -> None:
    assert evaluate(patients=1).answer[0].startswith("No finding has an AUROC with an interval on both sides")


def test_the_same_files_give_the_same_bytes(evaluate: Evaluate) -> None:
    folder = evaluate().path.parent
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    write_evaluation_page(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert len(before) == 5


def test_a_folder_without_an_evaluation_and_a_damaged_one(evaluate: Evaluate, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match=r"has no evaluation\.json; 'clr-hpc evaluate' writes it"):
        write_evaluation_page(tmp_path)
    folder = evaluate().path.parent
    (folder / "scores.parquet").write_bytes(b"PAR1")
    with pytest.raises(DamagedError, match="the same 'clr-hpc evaluate' writes it anew"):
        write_evaluation_page(folder)


@pytest.mark.browser
def test_the_page_fits_a_narrow_screen_and_sorts(
    evaluate: Evaluate, browse: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    page = evaluate(skill=0.2, seen_images=["a" * 60 + ".png"], seen_patients=["7"]).path
    script = """
    <script>
    addEventListener("load", () => {
      const heads = [...document.querySelectorAll("#ranking th button")];
      heads.find((head) => head.innerText.startsWith("AUROC, external")).click();
      const column = heads.findIndex((head) => head.innerText.startsWith("AUROC, external"));
      const values = [...document.querySelectorAll("#ranking tbody tr")].map((row) => row.cells[column].innerText);
      const seen = { width: document.scrollingElement.scrollWidth, window: innerWidth, values };
      const told = Object.assign(document.createElement("pre"), { id: "seen", textContent: JSON.stringify(seen) });
      document.body.replaceChildren(told);
    });
    </script>
    """
    probed = page.with_name("probed.html")
    probed.write_text(page.read_text().replace("</body>", f"{script}</body>"))
    finished = browse(probed, "--dump-dom", "--window-size=500,2000")
    assert [line for line in finished.stderr.splitlines() if "CONSOLE" in line] == []
    match = re.search(r'<pre id="seen">(.*?)</pre>', finished.stdout)
    assert match is not None
    seen = json.loads(match[1])
    assert seen["width"] <= seen["window"], "tables and figures scroll inside their frames"
    numbers = [float(text.split("\u00a0")[0].split(" ")[0]) for text in seen["values"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(numbers) == 2


def test_the_difference_covers_the_truth_as_often_as_it_says() -> None:
    """Two collections of 40 patients whose true means differ by 0.1."""
    generator = np.random.default_rng(5)
    covered = []
    for _ in range(400):
        sides = []
        for truth in (0.6, 0.5):
            values = generator.normal(truth, 0.2, 40)
            draws = values[generator.integers(0, 40, (300, 40))].mean(axis=1)
            sides.append(Sampled(float(values.mean()), draws, 39))
        interval = difference_of_independent(*sides).patient_interval
        assert interval is not None
        covered.append(not interval.excludes(0.1))
    assert 0.92 < np.mean(covered) < 0.975


def test_expected_over_observed_covers_the_truth_as_often_as_it_says() -> None:
    generator = np.random.default_rng(6)
    draws = patient_draws(80, 300, generator)
    patients = np.repeat(np.arange(80, dtype=np.int32), 2)
    covered = []
    for _ in range(300):
        truth = generator.uniform(0.05, 0.6, 160)
        labels = generator.random(160) < truth
        probabilities = np.minimum(1.5 * truth, 1.0)  # so that 1.5 is the ratio
        estimate = expected_over_observed(Scores(patients, patients, labels, probabilities), draws)
        assert estimate.interval is not None
        covered.append(not estimate.interval.excludes(1.5))
    assert 0.92 < np.mean(covered) < 0.98


def test_no_positive_has_no_ratio() -> None:
    patients = np.arange(10, dtype=np.int32)
    draws = patient_draws(10, 20, np.random.default_rng(0))
    found = expected_over_observed(Scores(patients, patients, np.zeros(10, bool), np.full(10, 0.2)), draws)
    assert np.isnan(found.value)
    assert found.reason == "no positive image among 10 images"


@pytest.mark.parametrize(("tested", "is_judged"), [(40, True), (41, False)])
def test_own_test_images_are_no_external_validation(evaluate: Evaluate, tested: int, is_judged: bool) -> None:
    opening, overlap, *_ = evaluate(tested=[f"{number}.png" for number in range(tested)]).answer
    assert f"{tested} files are among the study’s own test images" in overlap
    assert ("Difference" in opening) is is_judged
    assert ("no external validation: 10 % of these images are the study’s own" in opening) is not is_judged
