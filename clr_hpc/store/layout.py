"""Names of what lies in ``results/``, spelled here alone. docs/architecture.md says what each file holds."""

import re
from collections.abc import Iterator
from itertools import count
from pathlib import Path

# results/
RATES = "rates"
"""Folder: throughput of this hardware, for plans."""
RANGE_TESTS = "range-tests"
"""Folder: the range tests of all studies, in ``runs/``, and a study's folder for each in ``studies/``."""
OF_NO_STUDY = frozenset({RATES, RANGE_TESTS})
"""Names that no study can have."""

# results/<study>/
STUDY = "study.yaml"
PACK = "pack.json"
PLAN = "plan.json"
RANGE_TEST_RESULTS = "range_tests.json"
RUNS = "runs"
EXPLANATIONS = "explanations.json"
TUNING = "tuning"
SLURM = "slurm"
TENSORBOARD = "tensorboard"
TRACKERS = "trackers"
REPORT = "report"
FIGURES = "figures"
"""Folder in ``report/``: its figures as files."""
REPORT_CACHE = "report-cache"
"""Folder: what ``clr-hpc report`` would otherwise compute again, a file for each task and two for all."""
KNOWN_PREDICTIONS, KNOWN_FIGURES = "all.predictions.kept", "all.figures.kept"
LOGS = "logs"
"""Folder: what commands printed and logged, a file for each."""
EVALUATIONS = "evaluations"
"""Folder: one for each external validation."""

# results/<study>/runs/<run>/
SPEC = "spec.json"
ENVIRONMENT = "environment.json"
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
SNAPSHOTS = "snapshots"
BEST = "best.safetensors"
SWA = "swa.safetensors"
LEASE = "lease.json"
LOCK = ".lock"
ARCHITECTURE = "architecture.json"
PREDICTIONS = "predictions.parquet"
PROFILE = "profile.json"
TRACE = Path("profile", "trace.json.gz")
RESULT = "result.json"

# results/<study>/tuning/<search>.<id>/
SEARCH = "config.json"
TRIALS = "trials.jsonl"
OUTCOME = "outcome.json"
BEST_STUDY = "best.yaml"

# results/<study>/evaluations/<name>/
EVALUATION = "evaluation.json"
SCORES = "scores.parquet"

# a bundle
BUNDLE = "bundle.json"
MODEL_CARD = "README.md"
WEIGHTS = "weights"

TENSORS = re.compile(r"[0-9]{12}\.safetensors")
"""Names in ``checkpoints/`` and ``snapshots/``, which are deleted as newer ones come; nothing else is."""


def tensors_name(samples: int) -> str:
    """Return the name of a checkpoint or snapshot after so many samples."""
    return f"{samples:012d}.safetensors"


def asides_of(study_folder: Path) -> Iterator[Path]:
    """Yield names for the folder of a replaced study, which no study can have: a dot is in them."""
    for number in count(1):
        yield study_folder.with_name(f"{study_folder.name}.replaced-{number}")


def scores_of(task: str) -> str:
    """Return the name of the file of a task's scores in ``REPORT_CACHE``."""
    return f"{task}.scores.kept"


def checksum_of(file: Path) -> Path:
    """Return the file next to ``file`` that holds its checksum, in the form that ``sha256sum --check`` reads."""
    return file.with_name(f"{file.name}.sha256")
