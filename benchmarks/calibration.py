"""What the weight of positives does to calibration, and what its correction leaves of that.

    python benchmarks/calibration.py [--seeds 3] [--epochs 4] [--images 2000] [--results FOLDER]

Trains the same network on the phantom without a weight, with pos_weight and with balanced sampling, and prints the
test AUROC, Brier score and calibration error, raw and corrected for the weight, as the report has them: means over
findings and seeds. Below stands the difference of each setting to that without a weight, with Student's 95 %
interval over findings and seeds. Runs that are there already are not trained again.
"""

from pathlib import Path

import numpy as np
import yaml

from clr_hpc.config.expand import expand
from clr_hpc.config.load import load_study
from clr_hpc.data.manifest import open_manifest
from clr_hpc.reporting.read.study import read_study
from clr_hpc.reporting.stats.calibration import positive_weight
from clr_hpc.reporting.stats.run.scores import LAST
from clr_hpc.reporting.stats.scoring import ScoredRun, score_runs
from clr_hpc.reporting.stats.significance import mean_interval
from clr_hpc.store.study_folder import StudyFolder
from parts.command import parser
from parts.studies import STUDY, phantom_pack, train_missing

SETTINGS = ("none", "pos_weight", "balanced_sampling")
MEASURES = ("auroc", "brier", "brier_corrected", "calibration_error", "calibration_error_corrected")


def main() -> None:
    """Train what is missing and print the tables."""
    command = parser(__doc__)
    command.add_argument("--seeds", type=int, default=3)
    command.add_argument("--epochs", type=int, default=4)
    command.add_argument("--images", type=int, default=2000)
    command.add_argument("--results", type=Path, default=Path("results"))
    asked = command.parse_args()
    pack = phantom_pack(asked.results / f"phantom-{asked.images}-pack", asked.images, 32)
    found = {}
    for imbalance in SETTINGS:
        file = asked.results / f"calibration-{imbalance}.yaml"
        values = {
            "name": f"calibration-{imbalance.replace('_', '-')}",
            "pack": str(pack.folder),
            "pathologies": ["cardiomegaly", "effusion"],
            "rates": {"adam": {"lr_min": 0.0001, "lr_max": 0.001}},
            "stages": {"scratch": {"policies": ["cosine"], "epochs": asked.epochs}},
            "seeds": list(range(asked.seeds)),
            "training": STUDY["training"] | {"class_imbalance": imbalance, "measure_training_split_every": 100},
        }
        file.write_text(yaml.safe_dump(STUDY | values))
        found[imbalance] = trained(file, asked.results)
    print_tables(found)


def trained(file: Path, results: Path) -> tuple[ScoredRun, ...]:
    """Train what is missing of a study, and return its runs as the report scores them."""
    study = load_study(file)
    folder = StudyFolder(results / study.name)
    folder.prepare(study, Path(study.pack))
    train_missing(Path(study.pack), expand(study, open_manifest(Path(study.pack)).checksum), folder)
    return score_runs(read_study(folder.path), np.random.default_rng(0))


def print_tables(found: dict[str, tuple[ScoredRun, ...]]) -> None:
    """Print the means of each setting, and its differences to the first one."""
    values = {
        imbalance: {name: [run.models[LAST][name].value for run in runs] for name in MEASURES}
        for imbalance, runs in found.items()
    }
    print(f"| class_imbalance | weight | {' | '.join(MEASURES)} |")
    print("|---|---|" + "---|" * len(MEASURES))
    for imbalance, runs in found.items():
        weights = sorted({round(positive_weight(run.record), 1) for run in runs})
        means = " | ".join(f"{np.mean(values[imbalance][name]):.3f}" for name in MEASURES)
        print(f"| {imbalance} | {', '.join(map(str, weights))} | {means} |")
    print(f"\n| difference to {SETTINGS[0]} | {' | '.join(MEASURES)} |")
    print("|---|" + "---|" * len(MEASURES))
    for imbalance in SETTINGS[1:]:
        cells = []
        for name in MEASURES:
            apart = np.subtract(values[imbalance][name], values[SETTINGS[0]][name]).tolist()
            bounds = mean_interval(apart)
            interval = f" ({bounds.low:+.3f} to {bounds.high:+.3f})" if bounds else ""
            cells.append(f"{np.mean(apart):+.3f}{interval}")
        print(f"| {imbalance} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
