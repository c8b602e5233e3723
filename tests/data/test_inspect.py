import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from clr_hpc.data.build import build_pack
from clr_hpc.data.inspect import render, save_label_chart, summarise
from clr_hpc.data.manifest import PackError
from clr_hpc.data.source import SourceError


def shown(path: Path) -> str:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(render(summarise(path)))
    return console.export_text()


def test_a_pack_is_shown_by_split_and_label(make_nih_folder: Callable, tmp_path: Path) -> None:
    made = make_nih_folder(30)
    (made.images / "00000001_000.png").write_bytes(b"")
    made.add_row("missing.png")
    build_pack(made.source, tmp_path / "pack", 32, workers=1)
    summary = summarise(tmp_path / "pack")
    assert sum(part.images for part in summary.parts.values()) == 29
    assert summary.positives()["effusion"] == 12
    assert list(summary.positives().values()) == sorted(summary.positives().values(), reverse=True)
    assert len(summary.positives()) == 15
    text = shown(tmp_path / "pack")
    assert "29 images of 10 patients, 32 × 32" in text
    assert "2 rejected" in text
    assert "1 of 31 rows of the label table have no file" in text
    assert "Pleural thickening" in text


def test_nihs_table_alone_is_shown(nih_mini: Path) -> None:
    text = shown(nih_mini / "Data_Entry_2017_v2020.csv.gz")
    assert "112,120 images of 30,805 patients" in text
    first, second = (line.split()[:3] for line in text.partition("images per label")[2].split("\n")[1:3])
    assert (first, second[:2]) == (["No", "finding", "60,361"], ["Infiltration", "19,894"])
    assert "can't be used" not in text
    assert ["Hernia", "227"] in [line.split()[:2] for line in text.splitlines()]


def test_a_table_with_a_column_a_pathology_is_shown(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image,Mass,Edema\na.png,1,0\nb.png,1,-1\n")
    summary = summarise(tmp_path / "table.csv")
    assert (summary.positives()["mass"], summary.parts["all"].labels["edema"].unknown) == (2, 1)
    assert "0 / 1 (1)" in shown(tmp_path / "table.csv")


@pytest.mark.parametrize(("suffix", "start"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_the_chart_is_drawn(tmp_path: Path, suffix: str, start: bytes) -> None:
    (tmp_path / "table.csv").write_text("image,Mass\na.png,1\n")
    path = tmp_path / f"chart{suffix}"
    save_label_chart(summarise(tmp_path / "table.csv"), path)
    assert path.read_bytes().startswith(start)


def test_what_is_neither_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackError, match="is not a pack"):
        summarise(tmp_path)
    (tmp_path / "table.csv").write_text("image\na.png\n")
    with pytest.raises(SourceError, match="no column named like one of"):
        summarise(tmp_path / "table.csv")


def test_a_misspelt_column_is_proposed_as_what_it_most_likely_means(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    rows = [f"{number}.png,p{number},{number % 2},{number // 2 % 2}" for number in range(8)]
    table.write_text("\n".join(["file,patient,Cardiomeg,Rib fracture", *rows]) + "\n")
    summary = summarise(table)
    assert summary.command is not None
    assert "--label Cardiomeg=cardiomegaly --finding 'Rib fracture'" in summary.command
    assert any("'Cardiomeg' is taken for cardiomegaly" in note for note in summary.notes)
    assert summary.positives()["cardiomegaly"] == 4
    assert summary.columns["Cardiomeg"] == "label cardiomegaly"
