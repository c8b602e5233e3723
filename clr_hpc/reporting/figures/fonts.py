"""The font of figure files, small enough that a PDF of it is made at once.

matplotlib cuts the letters that a PDF shows from the whole of DejaVu Sans, far slower than it draws the
figure. So the letters that figures are likely to show are cut once; of others, it takes the whole font.
"""

import atexit
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib as mpl
from matplotlib.font_manager import fontManager

FAMILY = "DejaVu Sans, Verdana, Helvetica, Arial, sans-serif"
"""Of SVG files: widths in figures are those of DejaVu Sans, the widest of them."""
_SMALL = "DejaVu Sans of reports"
_LETTERS = (
    *range(0x20, 0x180),  # Latin
    *range(0x370, 0x400),  # Greek
    *range(0x2010, 0x2040),  # dashes, quotes
    *range(0x2070, 0x20A0),  # raised and lowered digits
    *range(0x2190, 0x2194),  # arrows
    *(0x2212, 0x2248, 0x2260, 0x2264, 0x2265),  # −≈≠≤≥
)
_FAMILY_NAMES = (1, 16)
"""Of a font's table of names."""


@cache
def small_family() -> str:
    """Return the family of the small font, made at the first call; where that fails, of the whole one."""
    made: list[Path] = []
    try:
        folder = TemporaryDirectory(prefix="clr-hpc-fonts-")
        atexit.register(folder.cleanup)
        for name in ("DejaVuSans.ttf", "DejaVuSans-Bold.ttf"):
            made.append(Path(folder.name) / name)
            _cut(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, made[-1])
    except OSError:  # the disk of temporary files is full
        return "DejaVu Sans"
    for font in made:
        fontManager.addfont(font)
    return _SMALL


def _cut(source: Path, target: Path) -> None:
    from fontTools import subset  # takes a tenth of a second, and no page needs it

    options = subset.Options(layout_features=[], hinting=False, name_IDs=["*"], notdef_outline=True)
    options.drop_tables += ["GDEF", "GPOS", "GSUB", "kern", "FFTM"]
    with subset.load_font(str(source), options) as font:
        cutter = subset.Subsetter(options)
        cutter.populate(unicodes=_LETTERS)
        cutter.subset(font)
        for record in font["name"].names:
            if record.nameID in _FAMILY_NAMES:
                record.string = _SMALL
        subset.save_font(font, str(target), options)
