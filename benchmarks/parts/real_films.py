"""One-class methods on real images whose source and view say nothing of the class.

The images come from several sources whose labels differ, so a method could tell the sources apart and seem to
find disease. Here, of each source and view with images of both classes, equally many of each are judged. Five
folds over patients: fitted to three, chosen on one, judged on one.
"""

import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.nih import NihSource
from clr_hpc.data.splits import SeededSplit
from clr_hpc.models.one_class.floors import floor_scores, statistics
from parts.contestants import FITTED, Films, Judge, against, bounded, fitted
from parts.remembered import Remembered

FOLDS, FEWEST = 5, 50
"""Images of a part that is shown by itself."""


def pack(data: Path, folder: Path, side: int) -> tuple[Pack, NDArray[np.str_]]:
    """Pack the images, and return the source of each."""
    own = data / "nih-mini"
    source = NihSource(images=own / "images", labels=own / "Data_Entry_2017_v2020.csv.gz", subset=True)
    if not folder.exists():
        build_pack(source, folder, side, SeededSplit(validation_fraction=0.2, test_fraction=0.2))
    packed = Pack.open(folder)
    with (own / "manifest.csv").open(encoding="utf-8") as file:
        sources = {row["image"]: row["source_repo"] for row in csv.DictReader(file)}
    return packed, np.array([sources[name] for name in packed.index["image"]])


def matched(films: Films, cells: NDArray[np.str_]) -> NDArray[np.int64]:
    """Return rows with as many normal as anomalous films in each cell, drawn by a fixed seed."""
    random, chosen = np.random.default_rng(0), []
    for cell in np.unique(cells):
        normal, other = (np.flatnonzero((cells == cell) & (films.anomalous == value)) for value in (False, True))
        count = min(len(normal), len(other))
        chosen += [random.permutation(rows)[:count] for rows in (normal, other)]
    return np.sort(np.concatenate(chosen))


def table(packed: Pack, source: NDArray[np.str_], films: Films, network: Remembered, seeds: int) -> Table:
    """Return the table of methods on the matched images."""
    views = packed.index["view"].to_numpy(dtype=str)
    rows = matched(films, np.char.add(np.char.add(source.astype(str), " "), views))
    known = np.isin(source, np.unique(source[rows]))
    fold = np.random.default_rng(0).permutation(films.patients.max() + 1)[films.patients] % FOLDS
    found = statistics(packed.gather(np.arange(len(packed.index))))
    count = len(films.anomalous)
    floors = {name: np.zeros(count) for name in ("brightness", "statistics")}
    scores: dict[str, list[NDArray[np.float64]]] = defaultdict(lambda: [np.zeros(count) for _ in range(seeds)])
    on_validation: dict[str, list[float]] = defaultdict(list)
    picked: list[str] = []
    chosen = [np.zeros(count) for _ in range(seeds)]
    for test in range(FOLDS):
        validation = (test + 1) % FOLDS
        learned = known & ~np.isin(fold, (test, validation))
        judge = Judge(films, rows[fold[rows] == validation])
        normal = np.flatnonzero(learned & ~films.anomalous)
        judged = rows[np.isin(fold[rows], (test, validation))]
        for name, values in floor_scores(
            found, films.anomalous, learned & np.isin(np.arange(count), rows)
        ).items():
            floors[name][fold == test] = _relative(values, rows[learned[rows]])[fold == test]
        best, best_value = "", -1.0
        for name, method in FITTED.items():
            by_seed = [fitted(method, network, films, normal, judged, seed) for seed in range(seeds)]
            for variant in by_seed[0]:
                answers = [each[variant] for each in by_seed]
                value = judge.auroc([each.relative for each in answers]).value
                on_validation[name + variant].append(value)
                for seed, each in enumerate(answers):
                    scores[name + variant][seed][fold == test] = each.relative[fold == test]
                if value > best_value:
                    best, best_value = name + variant, value
        picked.append(best)
        for seed in range(seeds):
            chosen[seed][fold == test] = scores[best][seed][fold == test]
        print(f"fold {test}: {best}, {best_value:.3f} on validation", flush=True)

    parts = {"all": rows} | {f"view {view}": rows[views[rows] == view] for view in np.unique(views[rows])}
    parts |= {name.rpartition("/")[2]: rows[source[rows] == name] for name in np.unique(source[rows])}
    parts = {name: of for name, of in parts.items() if len(of) >= FEWEST}
    judges = {name: Judge(films, of) for name, of in parts.items()}
    title = f"real: {len(rows)} images, as many normal as not of each source and view; {seeds} seeds"
    result = Table(
        "method", "validation", *(f"{name} ({len(of)})" for name, of in parts.items()), "above both", title=title
    )
    of_floors = {name: [judge.auroc([values]) for judge in judges.values()] for name, values in floors.items()}
    for name, aurocs in of_floors.items():
        result.add_row(f"floor: {name}", "", *map(bounded, aurocs), "")
    lines = {name: (f"{np.mean(on_validation[name]):.3f}", values) for name, values in scores.items()}
    for name, (mean, values) in {**lines, "chosen on validation": ("", chosen)}.items():
        aurocs = [judge.auroc(list(values)) for judge in judges.values()]
        above = [
            against(one, list(of)) for one, of in zip(aurocs, zip(*of_floors.values(), strict=True), strict=True)
        ]
        result.add_row(name, mean, *map(bounded, aurocs), "all" if set(above) == {"yes"} else ", ".join(above))
    result.caption = f"chosen on validation, by fold: {'; '.join(picked)}"
    return result


def _relative(values: NDArray[np.float32], learned: NDArray[np.int64]) -> NDArray[np.float64]:
    of_learned = values[learned].astype(np.float64)
    relative: NDArray[np.float64] = (values - of_learned.mean()) / of_learned.std()
    return relative
