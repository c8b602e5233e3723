import re
from importlib.resources import files
from xml.etree import ElementTree

from matplotlib import rc_context
from matplotlib.figure import Figure

from clr_hpc.reporting.figures.svg import POLICY_COLOURS, VARIABLES, arm_styles, drawing_style, to_svg


def drawing(key: str = "a figure") -> str:
    style = arm_styles({"Constant": "Constant"})["Constant"]
    with rc_context(drawing_style()):
        figure = Figure(figsize=(4, 3))
        axes = figure.subplots()
        axes.plot([0.0, 1.23456], [0, 1], color=style.colour, linestyle=style.dash, marker=style.marker)
        axes.set_title("Loss < 0.0123456 & falling")
        return str(to_svg(figure, key, 'A "line"'))


def test_it_is_one_well_formed_element_with_a_description() -> None:
    root = ElementTree.fromstring(drawing().replace("xlink:href", "href"))
    assert root.tag == "svg"
    assert root.attrib["viewBox"] == "0 0 288 216"
    assert root.attrib["aria-label"] == 'A "line"'
    assert "Loss < 0.0123456 & falling" in "".join(root.itertext())


def test_every_colour_and_every_font_is_the_pages() -> None:
    text = drawing()
    assert "var(--policy-0)" in text
    assert "var(--ink)" in text
    assert re.findall(r"#[0-9a-f]{6}\b", text) == []
    assert "font-family" not in text
    assert "DejaVu" not in text


def test_colours_are_the_light_ones_of_the_page() -> None:
    css = (files("clr_hpc.reporting.page") / "report.css").read_text()
    light = dict(re.findall(r"--([\w-]+): light-dark\((#[0-9a-f]{6}), #[0-9a-f]{6}\);", css))
    assert {variable: light[variable] for variable in VARIABLES.values()} == {
        variable: colour for colour, variable in VARIABLES.items()
    }


def test_a_key_gives_the_same_bytes_and_another_key_other_ids() -> None:
    def ids(text: str) -> set[str]:
        return set(re.findall(r' id="([^"]+)"', text))

    assert drawing("one") == drawing("one")
    assert ids(drawing("one"))
    assert not ids(drawing("one")) & ids(drawing("other"))


def test_what_is_referred_to_is_there() -> None:
    text = drawing()
    referred = set(re.findall(r"url\(#([^)]+)\)", text)) | set(re.findall(r'href="#([^"]+)"', text))
    assert referred
    assert referred <= set(re.findall(r' id="([^"]+)"', text))


def test_each_of_many_policies_has_a_look_of_its_own() -> None:
    names = [f"policy {number}" for number in range(3 * POLICY_COLOURS)]
    looks = {
        (style.colour, style.dash, style.marker) for style in arm_styles({name: name for name in names}).values()
    }
    assert len(looks) == len(names)


def test_arms_of_one_policy_share_its_colour_and_differ_in_the_rest() -> None:
    arms = {"baseline": "Cosine", "control": "Cosine", "retrained": "Triangular", "scratch": "Triangular"}
    styles = arm_styles(arms)
    assert styles["baseline"].colour == styles["control"].colour != styles["retrained"].colour
    assert styles["baseline"].dash != styles["control"].dash
    assert len({style.marker for style in styles.values()}) == 4
