import re
import zlib
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from clr_hpc.reporting.figures import fonts
from clr_hpc.reporting.figures.picture import WRITER, Picture, gray, legend_of
from clr_hpc.reporting.figures.svg import INK, VARIABLES, Dot, arm_styles, dots, drawing_style

SVG = "{http://www.w3.org/2000/svg}"
ARMS = {"Constant": "Constant", "Triangular Ω": "Triangular", "Never shown": "Other"}


def picture(*shown: str, key: str = "auroc x", others: tuple[str, ...] = ()) -> Picture:
    styles = arm_styles(ARMS)
    with mpl.rc_context(drawing_style()):
        figure, axes = dots([Dot("Effusion", arm, 0.7, None) for arm in shown or ARMS], styles)
        axes.set_title("AUROC < 1 & more")
        legend = {**legend_of(styles, shown), **{name: gray(":") for name in others}}
        return Picture(figure, key, 'AUROC of "x" & y', "numbers: <results.csv>", legend)


def texts(root: ElementTree.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def size(root: ElementTree.Element) -> tuple[float, float]:
    return float(root.attrib["width"]), float(root.attrib["height"])


def streams(pdf: bytes) -> bytes:
    """Return what a PDF's compressed parts hold."""
    parts = re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)endstream", pdf, flags=re.DOTALL)
    assert parts
    return b"\n".join(zlib.decompressobj().decompress(part) for part in parts)


def page_of(pdf: bytes) -> tuple[float, float]:
    (box,) = re.findall(rb"/MediaBox \[([^]]*)\]", pdf)
    left, bottom, right, top = map(float, box.split())
    assert (left, bottom) == (0, 0)
    return right, top


def test_an_svg_file_needs_nothing_from_outside() -> None:
    text = picture("Constant", "Triangular Ω").svg()
    root = ElementTree.fromstring(text.encode())
    assert root.tag == f"{SVG}svg"
    assert "var(" not in text
    assert set(re.findall(r"#[0-9a-f]{6}\b", text)) <= {*VARIABLES, "#ffffff"}
    assert INK in text
    assert "sans-serif" in root.attrib["font-family"]
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)
    assert re.findall(r'(?:href|src)="([^#][^"]*)"', text) == []


def test_an_svg_file_says_what_it_shows() -> None:
    root = ElementTree.fromstring(picture("Constant", "Triangular Ω").svg().encode())
    about = {
        element.attrib["id"]: element.text for element in root if element.tag in (f"{SVG}title", f"{SVG}desc")
    }
    assert about == {
        "title": 'AUROC of "x" & y',
        "desc": "numbers: <results.csv>. Legend: Constant, Triangular Ω",
    }
    assert set(root.attrib["aria-labelledby"].split()) == set(about)


def test_the_legend_names_what_is_shown_and_lies_below_the_figure() -> None:
    plain = ElementTree.fromstring(picture("Constant").svg().encode())
    with_more = ElementTree.fromstring(picture("Constant", "Triangular Ω", others=("chance",)).svg().encode())
    assert {"Constant", "Triangular Ω", "chance"} <= set(texts(with_more))
    assert "Never shown" not in texts(with_more)
    assert "Triangular Ω" not in texts(plain)
    (legend,) = [group for group in with_more if group.tag == f"{SVG}g" and "transform" in group.attrib]
    (below,) = re.findall(r"translate\(0 (\d+)\)", legend.attrib["transform"])
    assert 0 < float(below) < size(with_more)[1]
    assert set(texts(legend)) == {"Constant", "Triangular Ω", "chance"}


def test_a_long_legend_takes_more_rows_and_a_long_name_a_wider_file() -> None:
    def of(*names: str) -> tuple[float, float]:
        return size(ElementTree.fromstring(picture("Constant", others=names).svg().encode()))

    short = of("one")
    assert of(*(f"name of entry {number}" for number in range(9)))[1] > short[1]
    wide = of("n" * 90)
    assert wide[0] > short[0]
    assert page_of(picture("Constant", others=("n" * 90,)).pdf()) == pytest.approx(wide)


def test_a_pdf_file_is_vectors_and_text_of_embedded_fonts() -> None:
    pdf = picture("Constant", "Triangular Ω").pdf()
    assert pdf.startswith(b"%PDF-")
    assert b"/Subtype /Image" not in pdf
    assert b"/Type3" not in pdf, "publishers reject fonts that are drawn"
    assert set(re.findall(rb"/BaseFont /[A-Z]{6}\+(\S+)", pdf)) == {b"DejaVuSans", b"DejaVuSans-Bold"}
    assert pdf.count(b"/FontFile2 ") == len(set(re.findall(rb"/BaseFont /(\S+)", pdf)))
    assert len(pdf) < 60_000


def test_a_pdf_file_has_the_colours_the_size_and_the_legend_of_the_svg() -> None:
    both = picture("Constant", "Triangular Ω")
    assert page_of(both.pdf()) == pytest.approx(size(ElementTree.fromstring(both.svg().encode())))
    inside = streams(both.pdf())
    for colour in arm_styles(ARMS)["Constant"].colour, arm_styles(ARMS)["Triangular Ω"].colour, INK:
        values = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        pattern = rb" ".join(rb"(\d?\.?\d+)" for _ in values) + rb" (?:rg|RG)"
        drawn = {tuple(round(float(value), 3) for value in found) for found in re.findall(pattern, inside)}
        assert tuple(round(value, 3) for value in values) in drawn
    omega = f"{ord('Ω'):04x}".encode()
    assert omega in inside.lower(), "a letter that the legend alone has"
    assert omega not in streams(picture("Constant").pdf()).lower()


def test_letters_outside_the_small_font_are_there_too() -> None:
    cyrillic = picture("Constant", others=("Пневмоторакс",)).pdf()
    assert f"{ord('П'):04x}".encode() in streams(cyrillic).lower()


def test_the_legend_does_not_stay_in_the_figure() -> None:
    made = picture("Constant")
    first, again = made.pdf(), made.pdf()
    assert first == again == picture("Constant").pdf()
    assert "Legend" not in made.inline
    assert str(made.inline) == str(picture("Constant").inline)


def test_the_writer_is_named_and_no_time() -> None:
    made = picture("Constant")
    assert WRITER in made.svg()
    assert WRITER.encode() in made.pdf()
    assert b"Date" not in made.pdf()
    assert re.search(r"\b20\d\d-", made.svg()) is None


def test_where_no_font_can_be_made_figures_have_the_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(fonts, "_cut", full)
    assert fonts.small_family.__wrapped__() == "DejaVu Sans"
