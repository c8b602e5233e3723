"""How well one-class methods tell films without findings from films with some, next to two floors.

    python benchmarks/one_class.py [--only PART] [--data FOLDER]

Parts: ``phantom`` (3,000 films), ``own`` (networks of their own, on such films), ``real`` (the images of
FOLDER/nih-mini), ``boxes`` (heat maps of PaDiM and PatchCore against boxes), ``cost`` (time and memory of fits to
10³ to 10⁵ images), ``digits`` (Deep SVDD on scikit-learn's digits). About an hour on two cores.

Features are those of a binary classifier of effusion (MobileNetV1, phantom only) and of EfficientNet-Lite0 with
ImageNet's weights from a file, which a package brings. Everything is fitted with three seeds. Intervals are 95 %,
over patients. Floors: mean gray, and a logistic regression on five global statistics; both know labels. "Above
both": zero is excluded from both differences. Settings are chosen on validation and judged on test.
"""

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.config.run import Initialisation, Normalisation
from clr_hpc.config.task import Mahalanobis
from clr_hpc.data.augment import prepare
from clr_hpc.data.pack import Pack
from clr_hpc.models.backbones import build_backbone
from clr_hpc.models.one_class.embedding import EmbeddingDetector
from clr_hpc.models.one_class.floors import floor_scores, statistics
from clr_hpc.reporting.stats.bootstrap import Sampled
from parts import boxed_films, fit_cost, real_films, svdd_digits
from parts.command import parser
from parts.contestants import FITTED, STRIDES, Answer, Films, Judge, against, answer, bounded, fitted
from parts.lite0 import ARCHITECTURE, write_weights
from parts.own_networks import OWN, effusion_classifier, trained
from parts.remembered import Remembered, remember
from parts.studies import phantom_pack

SEEDS, SIDE, REAL_SIDES = 3, 64, (128, 256)
SEEN = ("cardiomegaly", "effusion", "mass", "pneumothorax")
"""Findings that a person sees on a phantom film."""
LITE0_SCALE = Normalisation(mean=0.5, std=0.5)
Answers = dict[str, list[Answer]]


def films_of(pack: Pack) -> Films:
    """Return what a pack knows of its films."""
    findings = {finding: pack.labels(finding) == 1 for finding in PATHOLOGIES if finding in pack.index}
    patients = np.unique(pack.index["patient"].to_numpy(dtype=str), return_inverse=True)[1]
    return Films(np.any(list(findings.values()), axis=0), patients.astype(np.int64), findings)


def inputs(pack: Pack, side: int, scale: Normalisation, batch: int = 64) -> Iterator[torch.Tensor]:
    """Yield all films of a pack as batches of a network's input."""
    rows = np.arange(len(pack.index))
    for first in range(0, len(rows), batch):
        yield prepare(torch.from_numpy(pack.gather(rows[first : first + batch])), side, scale)


def lite0(pack: Pack, folder: Path, side: int) -> Remembered:
    """Return the feature maps of EfficientNet-Lite0 with weights from a file."""
    weights = Initialisation(weights="imagenet", file=str(write_weights(folder / "lite0.pt")))
    kept = folder / f"lite0-{pack.folder.name}-{side}.pt"
    if not kept.exists():
        strides = (*STRIDES, 32)
        reader = EmbeddingDetector(
            build_backbone(ARCHITECTURE, 1, weights, 0), Mahalanobis(strides=strides), 0, True
        )
        network = remember(reader, inputs(pack, side, LITE0_SCALE), strides)
        torch.save((network.known, network.inputs), kept)
    return Remembered(*torch.load(kept, weights_only=True))


def drawn(
    images: int, folder: Path
) -> tuple[Pack, Films, NDArray[np.int64], tuple[Judge, Judge], dict[str, NDArray[np.float32]]]:
    """Return phantom films, those to learn from, who judges on validation and test, and the floors' scores."""
    pack = phantom_pack(folder / f"phantom-{images}", images, SIDE, validation=0.1, test=0.3)
    films = films_of(pack)
    train, validation, test = (pack.rows_of(split) for split in ("train", "validation", "test"))
    normal = train[~films.anomalous[train]]
    judges = Judge(films, validation), Judge(films, test)
    learned = np.isin(np.arange(len(films.anomalous)), train)
    found = floor_scores(statistics(pack.gather(np.arange(len(pack.index)))), films.anomalous, learned)
    return pack, films, normal, judges, found


def own(images: int, folder: Path, seeds: int) -> Table:
    """Return the table of networks of their own; trained ones are kept in ``folder``."""
    pack, films, normal, judges, found = drawn(images, folder)
    judged = np.concatenate([pack.rows_of("validation"), pack.rows_of("test")])
    answers: Answers = {}
    spreads: dict[str, list[float]] = {}
    for seed in range(seeds):
        for name, network in OWN.items():
            kept = folder / f"own-{images}-{name}-{seed}.npz"
            if not kept.exists():
                started = time.perf_counter()
                scored, spread = trained(network, pack, films, normal, judged, SIDE, seed)
                np.savez(kept, spread=spread, **scored)
                print(seed, name, f"{time.perf_counter() - started:.1f} s", flush=True)
            with np.load(kept) as known:
                for added in sorted(set(known) - {"spread"}):
                    scores = known[added]
                    answers.setdefault(name + added, []).append(answer(scores, scores[normal]))
                    spreads.setdefault(name + added, []).append(float(known["spread"]))
    named = {f"{name} | {np.mean(spreads[name]):.3f}": group for name, group in answers.items()}
    title = f"phantom: {len(normal)} training films without findings, {seeds} seeds; in place of features: spread"
    return tabulate(title, named, found, judges, SEEN)


def phantom(images: int, folder: Path, seeds: int, trains: bool) -> Table:
    """Return the table of methods and features on the phantom."""
    pack, films, normal, judges, found = drawn(images, folder)
    train, validation, test = (pack.rows_of(split) for split in ("train", "validation", "test"))
    judged = np.concatenate([validation, test])
    answers: Answers = {}
    of_file = lite0(pack, folder, SIDE)
    for seed in range(seeds):
        sources = {"ImageNet": of_file}
        if trains:
            classifier = effusion_classifier(pack, films, train, SIDE, seed)
            baseline = EmbeddingDetector(classifier.backbone, Mahalanobis(strides=STRIDES), seed, is_trained=True)
            sources["baseline"] = remember(baseline, inputs(pack, SIDE, Normalisation()), STRIDES)
        for source, network in sources.items():
            for name, method in FITTED.items():
                started = time.perf_counter()
                found_by = fitted(method, network, films, normal, judged, seed)
                for variant, one in found_by.items():
                    answers.setdefault(f"{name}{variant} | {source}", []).append(one)
                print(seed, source, name, f"{time.perf_counter() - started:.1f} s", flush=True)
    title = f"phantom: {len(normal)} training films without findings, {len(test)} test films, {seeds} seeds"
    return tabulate(title, answers, found, judges, SEEN)


def tabulate(
    title: str,
    answers: Answers,
    floors: dict[str, NDArray[np.float32]],
    judges: tuple[Judge, Judge],
    findings: tuple[str, ...],
) -> Table:
    """Return one row per floor and per method; the one that is best on validation is marked."""
    validation, test = judges
    on_validation = {
        name: validation.auroc([each.scores for each in group]).value for name, group in answers.items()
    }
    best = max(on_validation, key=lambda name: on_validation[name])
    of_floors = {
        name: [test.auroc([scores], finding) for finding in (None, *findings)] for name, scores in floors.items()
    }
    heads = ("method", "features", "validation", "AUROC", *findings, "above both", "false positives")
    table = Table(*heads, title=title)

    def row(name: str, source: str, chosen: str, aurocs: list[Sampled], *last: str) -> None:
        table.add_row(name, source, chosen, *map(bounded, aurocs), *last)

    for name, aurocs in of_floors.items():
        row(f"floor: {name}", "", "", aurocs, "", "")
    for name, group in answers.items():
        scores = [each.scores for each in group]
        aurocs = [test.auroc(scores, finding) for finding in (None, *findings)]
        above = [
            against(found, list(of))
            for found, of in zip(aurocs, zip(*of_floors.values(), strict=True), strict=True)
        ]
        mark = " *" if name == best else ""
        method, _, source = name.partition(" | ")
        verdict = "all" if set(above) == {"yes"} else ", ".join(above)
        row(
            method + mark,
            source,
            f"{on_validation[name]:.3f}",
            aurocs,
            verdict,
            f"{test.false_positives(group):.3f}",
        )
    return table


def main() -> None:
    """Measure and print."""
    options = parser(__doc__)
    options.add_argument(
        "--only", choices=("phantom", "own", "real", "boxes", "cost", "digits"), help="this part alone"
    )
    options.add_argument("--data", type=Path, help="folder that holds nih-mini/; without it, no real images")
    options.add_argument("--images", type=int, default=3000, help="phantom films")
    options.add_argument("--largest", type=int, default=100_000, help="images of the largest fit of part cost")
    options.add_argument("--keep", type=Path, help="folder of packs and maps that are used again")
    options.add_argument("--file-only", action="store_true", help="features of the file alone: train no network")
    options.add_argument("--seeds", type=int, default=SEEDS, help="seeds of every fit")
    options.add_argument("--threads", type=int, default=1, help="threads of torch")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    console = Console(width=220)

    def wanted(part: str) -> bool:
        return given.only in (None, part)

    with tempfile.TemporaryDirectory() as temporary:
        folder = given.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if wanted("phantom"):
            console.print(phantom(given.images, folder, given.seeds, not given.file_only))
        if wanted("own"):
            console.print(own(given.images, folder, given.seeds))
        if wanted("real") and given.data is None:
            console.print("real: skipped, since --data FOLDER with nih-mini/ is not given")
        elif wanted("real"):
            pack, source = real_films.pack(given.data, folder / f"real-{REAL_SIDES[-1]}", REAL_SIDES[-1])
            networks = {f"{side} × {side}": lite0(pack, folder, side) for side in REAL_SIDES}
            console.print(real_films.table(pack, source, films_of(pack), networks, given.seeds))
        if wanted("boxes"):
            console.print(boxed_films.table(given.data, folder, given.images))
    if wanted("cost"):
        console.print(fit_cost.table(given.largest, given.threads))
    if wanted("digits"):
        console.print(svdd_digits.table(given.seeds))


if __name__ == "__main__":
    main()
