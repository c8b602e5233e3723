import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.data.images.listing import ImageFile
from clr_hpc.data.images.names import Fit, NameIndex

ROOT = Path("/data/images")


def index(*paths: str) -> NameIndex:
    return NameIndex([ImageFile(ROOT, path) for path in paths])


def found(fit: Fit) -> list[str]:
    return [file.name for file in fit.files]


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("p1/Röntgen.png", set()),
        ("./p1/Röntgen.png", {"spelling"}),
        ("p1\\Röntgen.png", {"spelling"}),
        ("x/../p1//Röntgen.png", {"spelling"}),
        ("/p1/Röntgen.png", {"spelling"}),
        ("C:\\p1\\Röntgen.png", {"spelling"}),
        ("Röntgen.png", {"below"}),
        ("P1/RÖNTGEN.png", {"case"}),
        ("p1/Röntgen.PNG", {"case"}),
        (unicodedata.normalize("NFD", "p1/Röntgen.png"), {"accents"}),
        ("p1/Röntgen", {"suffix"}),
        ("p1/Röntgen.dcm", {"suffix"}),
        ("images/p1/Röntgen.png", {"more_folders"}),
        ("elsewhere/p1/Röntgen.png", {"more_folders"}),
        ("/data/images/p1/Röntgen.png", {"spelling", "more_folders"}),
        ("D:\\Other\\P1\\röntgen", {"spelling", "more_folders", "case", "suffix"}),
        (unicodedata.normalize("NFD", "RÖNTGEN"), {"below", "case", "accents", "suffix"}),
    ],
)
def test_a_name_is_resolved_where_one_file_fits(name: str, kinds: set[str]) -> None:
    fit = index("p1/Röntgen.png", "p1/b.png", "p2/c.png").find(name)
    assert (found(fit), fit.kinds) == (["p1/Röntgen.png"], kinds)


@pytest.mark.parametrize(
    ("name", "paths", "expected"),
    [
        ("a.png", ["a.png", "x/a.png", "A.png"], ["a.png"]),  # exact
        ("./a.png", ["a.png", "x/a.png", "A.png"], ["a.png"]),  # the same path, written otherwise
        ("a.png", ["x/a.png", "x/A.png", "thumbnails/a.jpg"], ["x/a.png"]),  # differs in less than the others
        ("a.png", ["x/a.png", "y/a.png"], ["x/a.png", "y/a.png"]),
        ("a", ["a.png", "a.jpg"], ["a.jpg", "a.png"]),
        ("a.png", ["x/a.png", "A.png"], ["A.png", "x/a.png"]),  # neither is nearer than the other
        ("x/p/a.png", ["p/a.png", "a.png"], ["a.png", "p/a.png"]),
        ("images/a.png", ["a.png", "x/images/a.png"], ["a.png", "x/images/a.png"]),
        ("p2/view.png", ["p1/view.png"], []),  # the last folders must agree
        ("1.2.840.113", ["1.2.840.png", "1.2.840.113.png"], ["1.2.840.113.png"]),
        ("1.2.840", ["1.2.840.113.png"], []),
        ("", ["a.png"], []),
        (".", ["a.png"], []),
        ("..", ["a.png"], []),
    ],
)
def test_a_stricter_fit_wins_and_equal_ones_stay_undecided(
    name: str, paths: Sequence[str], expected: Sequence[str]
) -> None:
    assert found(index(*paths).find(name)) == expected


def test_of_several_folders_the_one_that_the_name_begins_with_is_meant() -> None:
    train, valid = (ImageFile(Path("/data", side), "p1/a.png") for side in ("train", "valid"))
    assert NameIndex([train, valid]).find("x/valid/p1/a.png").files == (train, valid)
    assert NameIndex([train, valid]).find("valid/p1/a.png").files == (valid,)
    assert NameIndex([train, valid]).find("/data/valid/p1/a.png").files == (valid,)
    assert NameIndex([train, valid]).find("p1/a.png").files == (train, valid)


LETTERS = "abAéÉ"
part = st.text(LETTERS, min_size=1, max_size=2)
path = st.builds(
    lambda folders, stem, end: "/".join([*folders, stem + end]),
    st.lists(part, max_size=3),
    part,
    st.sampled_from([".png", ".PNG", ".jpg"]),
)
trees = st.lists(path, min_size=1, max_size=12, unique=True)


def without_suffix(name: str) -> str:
    return name.rpartition(".")[0]


def bare(name: str) -> str:
    return name.rpartition("/")[2]


def decomposed(name: str) -> str:
    return unicodedata.normalize("NFD", name)


# each makes one form of all that differ in its kind only
PROJECTIONS: list[Callable[[str], str]] = [str.lower, without_suffix, decomposed, bare]
projections = st.sets(st.sampled_from(PROJECTIONS)).map(
    lambda chosen: [one for one in PROJECTIONS if one in chosen]
)


@given(tree=trees, mangling=projections, windows=st.booleans())
def test_one_mangling_of_all_names_never_leads_to_a_wrong_file(
    tree: list[str], mangling: list[Callable[[str], str]], windows: bool
) -> None:
    def mangle(name: str) -> str:
        for one in mangling:
            name = one(name)
        return "C:\\" + name.replace("/", "\\") if windows else name

    mangled = [mangle(path) for path in tree]
    names = index(*tree)
    for origin, name in zip(tree, mangled, strict=True):
        files = found(names.find(name))
        if mangled.count(name) == 1:
            assert files == [origin] or (len(files) != 1 and origin in files)
        elif not mangling:
            assert files == [origin]


@given(tree=trees, prefix=st.lists(part, min_size=1, max_size=2), chosen=st.data())
def test_foreign_folders_in_front_never_lead_to_a_wrong_file(
    tree: list[str], prefix: list[str], chosen: st.DataObject
) -> None:
    origin = chosen.draw(st.sampled_from(tree))
    name = "/".join([*prefix, origin])
    files = found(index(*tree).find(name))
    # a file whose path the mangled name is, letter by letter or but for letters, is what it says
    nearer = [path for path in tree if _folded(path) == _folded(name)]
    assert files == [origin] or len(files) != 1 or files[0] in nearer


@given(tree=trees, name=path | path.map(without_suffix) | path.map(bare) | path.map(str.lower))
def test_the_fit_is_that_of_comparing_with_every_file(tree: list[str], name: str) -> None:
    kinds_of = {path: kinds for path in tree if (kinds := compare(name, path)) is not None}
    least = [kinds for kinds in kinds_of.values() if not any(other < kinds for other in kinds_of.values())]
    expected = sorted(path for path, kinds in kinds_of.items() if kinds in least)
    fit = index(*tree).find(name)
    assert found(fit) == expected
    assert found(index(*tree[::-1]).find(name)) == expected
    if len(expected) == 1:
        assert fit.kinds - {"below"} == kinds_of[expected[0]] - {"below", "elsewhere"}


def compare(name: str, path: str) -> frozenset[str] | None:
    """Return how a name differs from a path, by definition instead of by an index; None where it can't mean it."""
    mine, its = name.split("/"), path.split("/")
    shared = min(len(mine), len(its))
    if [_folded(one) for one in mine[-shared:]] != [_folded(one) for one in its[-shared:]]:
        return None
    kinds = set()
    if len(mine) < len(its):
        kinds.add("below" if len(mine) == 1 else "fewer_folders")
    if len(mine) > len(its):
        kinds |= {"more_folders", "elsewhere"}  # no folder of these trees is called as ROOT is
    (stem, end), (its_stem, its_end) = (split(parts[-1]) for parts in (mine, its))
    if end.lower() != its_end.lower():
        kinds.add("suffix")
    elif end != its_end:
        kinds.add("case")
    if [*mine[-shared:-1], stem] != [*its[-shared:-1], its_stem]:  # all letters here are composed
        kinds.add("case")
    return frozenset(kinds)


def split(file: str) -> tuple[str, str]:
    stem, dot, end = file.rpartition(".")
    return (stem, dot + end) if dot else (end, "")


def _folded(path: str) -> str:
    return split(path)[0].casefold()
