"""One-class methods on real images whose source and view say nothing of the class.

The images come from several sources whose labels differ, so a method could tell the sources apart and seem to
find disease. Here, of each source and view with images of both classes, equally many of each are judged.

Five folds over patients lie in a ring. A fit leaves out two neighbours. Each fold is judged by the two fits that
left it out, whose scores are averaged; each of these is validated on the other fold that it left out. So a fold's
setting is chosen on its two neighbours, by fits that have seen neither them nor the fold itself.
"""

import csv
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from clr_hpc.config import task
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.nih import NihSource
from clr_hpc.data.splits import SeededSplit
from clr_hpc.models.one_class.floors import floor_scores, statistics
from parts.contestants import Films, Judge, against, bounded, fitted
from parts.remembered import Remembered

FOLDS, FEWEST = 5, 50
"""Images of a part that is shown by itself."""
METHODS: dict[str, task.OneClassMethod] = {
    "nearest neighbours, last layer": task.NearestNeighbours(),
    "nearest neighbours, maps 8 and 16": task.NearestNeighbours(strides=(8, 16)),
    "Mahalanobis, maps 4 to 16": task.Mahalanobis(),
    "PaDiM, maps 4 to 16": task.Padim(),
    "PaDiM, maps 16 and 32": task.Padim(strides=(16, 32)),
    "PatchCore, bank of 200": task.Patchcore(bank=200),
}
Scores = NDArray[np.float64]


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


def table(
    packed: Pack, source: NDArray[np.str_], films: Films, networks: dict[str, Remembered], seeds: int
) -> Table:
    """Return the table of methods on the matched images, with each network's maps."""
    views = packed.index["view"].to_numpy(dtype=str)
    rows = matched(films, np.char.add(np.char.add(source.astype(str), " "), views))
    known = np.isin(source, np.unique(source[rows]))
    fold = np.random.default_rng(0).permutation(films.patients.max() + 1)[films.patients] % FOLDS
    count = len(films.anomalous)

    found = statistics(packed.gather(np.arange(count)))
    floors = {name: np.zeros(count) for name in ("brightness", "statistics")}
    scores: dict[str, list[Scores]] = defaultdict(lambda: [np.zeros(count) for _ in range(seeds)])
    on_neighbour: dict[str, list[Scores]] = defaultdict(lambda: [np.zeros((2, count)) for _ in range(seeds)])
    for first in range(FOLDS):
        pair = first, (first + 1) % FOLDS
        learned = known & ~np.isin(fold, pair)
        matched_learned = learned & np.isin(np.arange(count), rows)
        for name, values in floor_scores(found, films.anomalous, matched_learned).items():
            floors[name][fold == first] = _relative(values, np.flatnonzero(matched_learned))[fold == first]
        normal, judged = np.flatnonzero(learned & ~films.anomalous), rows[np.isin(fold[rows], pair)]
        for seed in range(seeds):
            for label, network in networks.items():
                for name, relative in _fits(network, films, views, normal, judged, seed):
                    setting = f"{name} | {label}"
                    scores[setting][seed][judged] += relative[judged] / 2
                    for place, of in enumerate(pair):  # a fold is first of one pair and second of another
                        on_neighbour[setting][seed][place, fold == of] = relative[fold == of]
            print(f"folds {pair}, seed {seed}", flush=True)

    chosen, picked = [np.zeros(count) for _ in range(seeds)], []
    validated: dict[str, list[float]] = {name: [] for name in scores}
    for test in range(FOLDS):
        after, before = (test + 1) % FOLDS, (test - 1) % FOLDS
        judge = Judge(films, rows[np.isin(fold[rows], (after, before))])
        for name, by_seed in on_neighbour.items():
            # the next fold is second of its pair with this one, and the one before is first
            neighbours = [np.where(fold == after, both[1], both[0]) for both in by_seed]
            validated[name].append(judge.auroc(list(neighbours)).value)
        picked.append(max(validated, key=lambda name: validated[name][-1]))
        for seed in range(seeds):
            chosen[seed][fold == test] = scores[picked[-1]][seed][fold == test]

    parts = {"all": rows} | {f"view {view}": rows[views[rows] == view] for view in np.unique(views[rows])}
    parts |= {name.rpartition("/")[2]: rows[source[rows] == name] for name in np.unique(source[rows])}
    judges = {name: Judge(films, of) for name, of in parts.items() if len(of) >= FEWEST}
    heads = (f"{name} ({len(judge.rows)})" for name, judge in judges.items())
    title = f"real: {len(rows)} images, as many normal as not of each source and view; {seeds} seeds"
    result = Table("method", "features", "validation", *heads, "above both", title=title)
    of_floors = {name: [judge.auroc([values]) for judge in judges.values()] for name, values in floors.items()}
    for name, aurocs in of_floors.items():
        result.add_row(f"floor: {name}", "", "", *map(bounded, aurocs), "")
    means = {name: float(np.mean(values)) for name, values in validated.items()}
    lines = sorted(scores.items(), key=lambda line: -means[line[0]])
    for name, by_seed in [*lines, ("chosen on validation", chosen)]:
        aurocs = [judge.auroc(list(by_seed)) for judge in judges.values()]
        above = [
            against(one, list(of)) for one, of in zip(aurocs, zip(*of_floors.values(), strict=True), strict=True)
        ]
        method, _, label = name.partition(" | ")
        verdict = "all" if set(above) == {"yes"} else ", ".join(above)
        result.add_row(method, label, f"{means[name]:.3f}" if label else "", *map(bounded, aurocs), verdict)
    result.caption = f"chosen on validation, by fold: {'; '.join(picked)}"
    return result


def _fits(
    network: Remembered,
    films: Films,
    views: NDArray[np.str_],
    normal: NDArray[np.int64],
    judged: NDArray[np.int64],
    seed: int,
) -> Iterator[tuple[str, Scores]]:
    """Yield each method's scores of the films ``judged``, and those of fits to each view by itself.

    Methods with maps are fitted to both views alone: a covariance at each place takes more images than a view has.
    """
    for name, method in METHODS.items():
        for variant, one in fitted(method, network, films, normal, judged, seed).items():
            yield name + variant, one.relative
        if isinstance(method, task.MapMethod):
            continue
        apart = np.full(len(views), np.nan)
        for view in np.unique(views[judged]):
            of_view = judged[views[judged] == view]
            (one,) = fitted(method, network, films, normal[views[normal] == view], of_view, seed).values()
            apart[of_view] = one.relative[of_view]
        yield f"{name}, views apart", apart


def _relative(values: NDArray[np.float32], learned: NDArray[np.int64]) -> Scores:
    of_learned = values[learned].astype(np.float64)
    relative: Scores = (values - of_learned.mean()) / of_learned.std()
    return relative
