"""What bfloat16 costs in AUROC: the same runs in both precisions, over seeds.

    python benchmarks/precision.py [STUDY] [--seeds 3] [--results FOLDER]

Trains all runs of a study that take steps, with float32 and with bfloat16 autocast, and prints how much AUROC on
validation and test images differs between the two, next to how much it differs between seeds: a difference that is
smaller than that is not significant. Runs that are there already are not trained again. Without a study,
one on the phantom is made; precision_nih.yaml is one on real images. A CPU without instructions for bfloat16 takes
hours.
"""

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.data.manifest import open_manifest
from clr_hpc.store.study_folder import StudyFolder
from parts.command import parser
from parts.studies import phantom_study, train_missing

PRECISIONS = ("float32", "bfloat16")


def main() -> None:
    """Train what is missing and print the table."""
    command = parser(__doc__)
    command.add_argument("study", type=Path, nargs="?", help="one on the phantom, made for this")
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--results", type=Path, default=Path("results"))
    asked = command.parse_args()
    rates = {"adam": {"lr_min": 0.00001, "lr_max": 0.002}}
    study = load_study(asked.study or phantom_study(asked.results, rates=rates))
    checksum = open_manifest(Path(study.pack)).checksum
    runs: dict[str, tuple[RunSpec, ...]] = {}
    for precision in PRECISIONS:
        values = study.model_dump()
        own = {"seeds": list(range(asked.seeds)), "training": values["training"] | {"precision": precision}}
        made = expand(Study.model_validate(values | own), checksum)
        runs[precision] = tuple(run for run in made if not run.is_fitted)
    folder = StudyFolder(asked.results / f"{study.name}-precision-benchmark")
    train_missing(Path(study.pack), tuple(run for made in runs.values() for run in made), folder)
    print_table(list(zip(*runs.values(), strict=True)), folder)


def print_table(pairs: list[tuple[RunSpec, ...]], folder: StudyFolder) -> None:
    """Print AUROC of float32, its spread over seeds, and the differences of bfloat16 to it."""
    groups: dict[tuple[str, str], list[list[float]]] = defaultdict(list)
    for pair in pairs:
        results, first = [result_of(run, folder) for run in pair], pair[0]
        name = ", ".join((first.task.name, first.architecture, first.optimizer.name, first.policy.name))
        for split in ("validation", "test"):
            both = [result["models"]["last"][split]["auroc"] for result in results]
            if None not in both:  # a split with one class has none
                groups[name, split].append(both)
    print("| runs | split | AUROC, float32 | SD over seeds | bfloat16 − float32: mean | range |")
    print("|---|---|---|---|---|---|")
    for (name, split), values in groups.items():
        exact, short = np.array(values).T
        spread, apart = f"{exact.std(ddof=1):.3f}" if len(exact) > 1 else "", short - exact
        cells = f"{exact.mean():.3f} | {spread} | {apart.mean():+.3f} | {apart.min():+.3f} to {apart.max():+.3f}"
        print(f"| {name} | {split} | {cells} |")


def result_of(run: RunSpec, folder: StudyFolder) -> dict[str, Any]:
    """Return a run's result.

    Raises:
        SystemExit: it has failed, or was stopped.
    """
    result: dict[str, Any] | None = folder.result(run)
    if result is None or result["status"] != "done":
        raise SystemExit(f"{run.name}: {result['reason'] if result else 'stopped'}; run the same command again")
    return result


if __name__ == "__main__":
    main()
