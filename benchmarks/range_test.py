"""How good suggested bounds are: training with them, and with the same bounds ten times lower and higher.

    python benchmarks/range_test.py [STUDY] [--results FOLDER]

For each architecture and optimizer of a study, whose range tests must allow a suggestion, one pathology is trained
from scratch under ``triangular`` between the suggested bounds, and between the same bounds × 0.1 and × 10. Prints,
over seeds, in how many steps each first is as good on the validation split as a baseline with a decaying rate at
its best, as ratios to the suggested bounds. Runs that are there already are not trained again. Without a study,
one on the phantom is made: half an hour on 2 cores.
"""

from dataclasses import dataclass
from pathlib import Path
from statistics import median

from clr_hpc.config.expand import expand, range_test_study
from clr_hpc.config.load import load_study
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.data.manifest import open_manifest
from clr_hpc.planning.lr_range import folder_of_tests, summarize_tests
from clr_hpc.store.metrics import read_metrics
from clr_hpc.store.study_folder import StudyFolder
from parts.command import parser
from parts.studies import phantom_study, train_missing

FACTORS = (0.1, 1.0, 10.0)
SEEDS, EPOCHS, HALF_CYCLE_EPOCHS = 3, 6, 1


@dataclass(frozen=True)
class Method:
    """The runs of one architecture and optimizer with bounds multiplied by one factor."""

    name: str
    factor: float
    runs: tuple[RunSpec, ...]
    baselines: tuple[RunSpec, ...]


def main() -> None:
    """Train what is missing and print the table."""
    command = parser(__doc__)
    command.add_argument("study", type=Path, nargs="?", help="default: one on the phantom")
    command.add_argument("--results", type=Path, default=Path("results"))
    options = command.parse_args()
    study = load_study(options.study or phantom_study(options.results))
    checksum = open_manifest(Path(study.pack)).checksum
    tests = folder_of_tests(options.results, study.name)
    specs = expand(range_test_study(study), checksum)
    train_missing(Path(study.pack), specs, tests)
    methods = []
    for one in summarize_tests(specs, tests):
        if one.measured is None or one.tests[0].task.kind != "binary":
            print(f"{one.name}: no suggestion")
            continue
        bounds = one.measured.lr_min, one.measured.lr_max
        methods += [method(study, one.tests[0], bounds, one.measured.lr, factor, checksum) for factor in FACTORS]
    folder = StudyFolder(options.results / f"{study.name}-range-test-benchmark")
    everything = dict.fromkeys(run for one in methods for run in (*one.baselines, *one.runs))
    train_missing(Path(study.pack), tuple(everything), folder)
    print_table(methods, folder)


def method(
    study: Study, test: RunSpec, bounds: tuple[float, float], baseline_lr: float, factor: float, checksum: str
) -> Method:
    """Return the runs with bounds × factor, and the baselines whose best loss they are to reach."""
    low, high = (bound * factor for bound in bounds)
    decay = {"name": "exponential", "gamma": 0.7, "lr_max": baseline_lr}
    wave = {"name": "triangular", "half_cycle_epochs": HALF_CYCLE_EPOCHS}
    own = {
        "architectures": [test.architecture],
        "optimizers": [test.optimizer.model_dump()],
        "pathologies": [getattr(test.task, "pathology", "")],
        "one_class": [],
        "measured": [],
        "seeds": list(range(SEEDS)),
        "rates": {test.optimizer.name: {"lr_min": low, "lr_max": high}},
        "stages": {
            "baseline": {"policies": [decay], "epochs": EPOCHS},
            "scratch": {"policies": [wave], "epochs": EPOCHS},
        },
    }
    runs = expand(Study.model_validate(study.model_dump() | own), checksum)
    trained, baselines = (tuple(run for run in runs if run.stage == stage) for stage in ("scratch", "baseline"))
    return Method(f"{test.architecture}, {test.optimizer.name}", factor, trained, baselines)


def steps_until(run: RunSpec, folder: StudyFolder, wanted: float) -> float:
    """Return the steps after which a run's validation loss first was as low as ``wanted``; infinity: never."""
    for entry in read_metrics(folder.runs / run.name):
        if entry.get("split") == "validation" and entry["loss"] is not None and entry["loss"] <= wanted:
            return float(entry["samples"]) / run.training.batch_size
    return float("inf")


def print_table(methods: list[Method], folder: StudyFolder) -> None:
    """Print the median steps of each, with the range over seeds, and their ratio to the suggested bounds."""
    counts = {
        (one.name, one.factor): [
            steps_until(run, folder, folder.result(baseline)["best"]["validation_loss"])
            for run, baseline in zip(one.runs, one.baselines, strict=True)
        ]
        for one in methods
    }
    print("| architecture, optimizer | bounds | steps to the baseline's best: median (range) | ratio | reached |")
    print("|---|---|---|---|---|")
    for (name, factor), steps in counts.items():
        ratio = median(steps) / median(counts[name, 1.0])
        reached = sum(count < float("inf") for count in steps)
        cells = f"{median(steps):g} ({min(steps):g} to {max(steps):g})"
        print(f"| {name} | × {factor:g} | {cells} | {ratio:.2f} | {reached} of {len(steps)} |")


if __name__ == "__main__":
    main()
