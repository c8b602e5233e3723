import csv
import json
import re
from collections import Counter
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pandas as pd

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.reporting.report import write_report

StudyMaker = Callable[..., Path]


class Page(HTMLParser):
    """What a test wants to know of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.ids: Counter[str] = Counter()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.tags: Counter[str] = Counter()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        for name, value in attrs:
            if name == "id":
                self.ids[value or ""] += 1
            elif name == "src" or (tag == "link" and name == "href"):
                self.loaded.append(value or "")
            elif tag == "a" and name == "href":
                self.links.append(value or "")


def test_a_whole_report(make_study: StudyMaker) -> None:
    folder = make_study(pathologies=PATHOLOGIES)
    path = write_report(folder)
    assert path == folder / "report" / "report.html"
    assert path.stat().st_size < 1_500_000
    page = Page(path)
    # labels, layers, averages; all classifiers; training curves and score curves of each pathology
    assert page.tags["figure"] == 3 + 1 + 14 + 14
    assert [name for name, times in page.ids.items() if times > 1] == []
    assert page.loaded == ["data:,"]
    for link in page.links:
        assert link.removeprefix("#") in page.ids if link.startswith("#") else (path.parent / link).is_file()
    text = path.read_text()
    assert "Triangular has the highest mean validation AUROC" in text
    assert json.loads((folder / "pack.json").read_text())["checksum"] in text
    assert "clr-hpc run study.yaml" in text


def test_the_same_run_folders_give_the_same_bytes(make_study: StudyMaker) -> None:
    folder = make_study()
    first = files_of(write_report(folder).parent)
    assert {path.suffix for path in first} == {".html", ".csv", ".tex", ".svg", ".pdf"}
    assert files_of(write_report(folder).parent) == first


def files_of(report: Path) -> dict[Path, bytes]:
    return {path.relative_to(report): path.read_bytes() for path in report.rglob("*.*")}


def test_no_table_is_empty_and_the_page_names_those_that_are_there(make_study: StudyMaker) -> None:
    folder = make_study(("effusion",), skill={}, retrained={"cosine": 1.0, "triangular": 1.4})
    report = write_report(folder, "none").parent
    tables = {path.name for path in files_of(report) if path.suffix in (".csv", ".tex")}
    assert {"contrasts.csv", "verdicts.csv", "models.csv", "results.csv", "costs.csv", "paper.tex"} <= tables
    assert not {"one-class-costs.csv", "one-class-floors.csv", "predicted.csv", "localisation.csv"} & tables
    for result in folder.glob("runs/*/result.json"):
        result.unlink()
    report = write_report(folder, "none").parent
    left = {path.name for path in report.iterdir() if path.suffix in (".csv", ".tex")}
    assert left < tables
    assert "models.csv" not in left
    for name in left:
        assert len((report / name).read_text().splitlines()) > 1
    assert {link for link in Page(report / "report.html").links if link[0] != "#"} == left


def test_no_address_outside_the_page(make_study: StudyMaker) -> None:
    text = write_report(make_study(), "none").read_text()
    assert re.findall(r"(?:https?:)?//[a-z][^\s\"'<]*\.[^\s\"'<]*", text) == []


def test_a_reason_is_text_and_never_markup(make_study: StudyMaker) -> None:
    folder = make_study()
    reason = 'ValueError: </table><script>alert("x")</script> & more'
    result = {"status": "failed", "reason": reason, "samples": 0, "epochs": 0.0, "seconds": 1.0}
    next(folder.glob("runs/*/result.json")).write_text(json.dumps(result))
    text = write_report(folder, "none").read_text()
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(&#34;x&#34;)&lt;/script&gt; &amp; more" in text


def test_a_study_of_which_nothing_is_done_has_a_report(make_study: StudyMaker) -> None:
    folder = make_study()
    for run in folder.glob("runs/*"):
        for file in run.iterdir():
            file.unlink()
        run.rmdir()
    path = write_report(folder, "none")
    assert "Nothing can be compared" in path.read_text()
    assert Page(path).tags["figure"] == 1
    with (path.parent / "runs.csv").open() as file:
        assert {line["status"] for line in csv.DictReader(file)} == {"missing"}


def test_pathologies_with_few_positives_stay_out_of_the_second_mean(make_study: StudyMaker) -> None:
    folder = make_study(positives={"effusion": 33})
    with (write_report(folder, "none").parent / "arms.csv").open() as file:
        compared = {line["compared_over"]: line["tasks_compared"] for line in csv.DictReader(file)}
    assert compared == {"all pathologies": "2", "100 positives or more": "1"}


def test_a_report_of_all_stages_and_kinds_has_every_section(make_study: StudyMaker) -> None:
    folder = make_study(
        skill={"triangular": 1.2},
        retrained={"cosine": 1.0, "triangular": 1.4},
        one_class=("deep_svdd", "nearest_neighbours"),
    )
    path = write_report(folder, "none")
    page = Page(path)
    assert [name for name, times in page.ids.items() if times > 1] == []
    sections = ("control", "arms-section", "classifiers", "curves", "scores", "results-section", "cost")
    rest = ("models-section", "one-class-section", "slices-section", "images", "architectures", "provenance")
    assert {*sections, *rest} <= set(page.ids)
    assert "failures-section" not in page.ids
    text = path.read_text()
    assert "does cyclical retraining give a higher test AUROC than the control" in text
    assert "One-class models, not compared with each other, test AUROC" in text
    assert "undefined" not in re.sub(r"<script>.*</script>", "", text, flags=re.DOTALL)
    assert not re.search(r">\s*nan\b", text)


def test_a_study_of_one_class_models_alone_has_a_report(make_study: StudyMaker) -> None:
    folder = make_study((), skill={"triangular": 1.2}, one_class=("deep_svdd",))
    page = Page(write_report(folder, "none"))
    assert "one-class-section" in page.ids
    assert "results-section" not in page.ids
    assert all(link.removeprefix("#") in page.ids for link in page.links if link.startswith("#"))


def test_one_class_in_every_split_of_one_pathology(make_study: StudyMaker) -> None:
    folder = make_study(retrained={"cosine": 1.0, "triangular": 1.4})
    for file in folder.glob("runs/effusion.*/predictions.parquet"):
        predictions = pd.read_parquet(file)
        predictions["label"] = np.int8(0)
        predictions.to_parquet(file)
    path = write_report(folder, "none")
    assert "no positive image among" in path.read_text()
    assert "failures-section" in Page(path).ids


def test_a_full_grid_of_models_is_named_by_its_sides(make_study: StudyMaker) -> None:
    folder = make_study(
        ("edema",), {"constant": 0.6}, optimizers=("sgd", "adam"), architectures=("mobilenet_v1", "alexnet")
    )
    text = write_report(folder, "none").read_text()
    assert "with MobileNetV1 and AlexNet, each trained by SGD and Adam, on 1 pathology" in text
