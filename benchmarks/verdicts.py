"""How often the report's verdicts are wrong, and how often its intervals hold the truth.

    python benchmarks/verdicts.py [--studies 200] [--only verdicts|power|intervals|conclusions]

Draws studies whose true differences are known (parts/drawn_studies.py) and judges them with the report's own code.
No training, no GPU; some half an hour on one core.

- verdicts: nothing differs, so every "better" or "worse" is wrong; the share of studies with one, which should not
  exceed 5 %
- power: the first of the policies is better by .01, .02 or .05; the share of studies in which it is called better
  or equivalent
- intervals: the share of 95 % intervals that hold the truth, by the number of positive patients
- conclusions: studies of the article's shape, whose three policies are better, worse, or neither; how often each
  verdict is given to which truth, and the share of studies with a wrong "better" or "worse"
"""

from collections.abc import Callable
from typing import get_args

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table

from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.bootstrap import RESAMPLES, Interval, Sampled, patient_draws
from clr_hpc.reporting.stats.metrics import MEASURES, Estimate, measure
from clr_hpc.reporting.stats.verdict import Verdict, pairwise_verdicts, verdicts
from parts.command import parser
from parts.drawn_studies import Design, DrawnStudy, draw, single_model

MARGIN = 0.01
NULL = (
    *(
        Design(policies, seeds, shared=shared)
        for shared in (0.0, 0.3)
        for policies, seeds in ((1, 2), (1, 3), (1, 5))
    ),
    *(Design(5, seeds, shared=shared) for shared in (0.0, 0.3) for seeds in (1, 2, 3, 5)),
    Design(5, 3, shared=0.3, images=5000),
    Design(2, 3, tasks=2, shared=0.3),
)
POWER = tuple(
    Design(1, seeds, images=images, shared=0.1, effects=(effect,))
    for images in (1000, 5000)
    for effect in (0.01, 0.02, 0.05)
    for seeds in (3, 5)
)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
SMALL = {"seeds": 3, "tasks": 6, "images": 1500, "training_noise": 0.006, "shared": 0.2}
ARTICLE = (
    *(
        Design(3, **SMALL, effects=effects)
        for effects in (
            (0.0, 0.0, 0.0),
            (0.02, 0.0, 0.0),
            (0.02, 0.0, -0.02),
            (0.005, 0.005, -0.005),
            (0.015, -0.015, 0.0),
        )
    ),
    Design(3, **SMALL | {"tasks": 14, "models": 2, "images": 3000}, effects=(0.02, 0.0, -0.02)),
)
"""Three cyclical policies and three seeds, as in the article: on six of its pathologies and one of its models, and
on all pathologies and two of its twelve models."""


def against_control(study: DrawnStudy) -> list[Verdict]:
    """Judge every policy against the control."""
    policies = [name for name in study.scores if name != "control"]
    return verdicts([study.difference(name, "control") for name in policies], MARGIN)


def ranked(study: DrawnStudy) -> list[Verdict]:
    """Judge all policies against the one that validation finds best, as in a study without a control."""
    names = sorted(study.scores, key=lambda name: -study.validation[name])
    found = pairwise_verdicts(names, study.difference, MARGIN)
    return [found[name, names[0]] for name in names[1:]]


def wrong_share(
    design: Design, studies: int, judge: Callable[[DrawnStudy], list[Verdict]], generator: np.random.Generator
) -> float:
    """Return the share of studies in which any policy is called better or worse, though none is."""
    wrong = [bool({"better", "worse"} & set(judge(draw(design, generator)))) for _ in range(studies)]
    return float(np.mean(wrong))


def found(design: Design, studies: int, generator: np.random.Generator) -> dict[str, float]:
    """Return how often the first policy is called better, equivalent, and worse."""
    of_first = [against_control(draw(design, generator))[0] for _ in range(studies)]
    return {name: float(np.mean([one == name for one in of_first])) for name in ("better", "equivalent", "worse")}


def coverage(positives: int, area: float, studies: int, generator: np.random.Generator) -> dict[str, float]:
    """Return, for each kind of interval that defines one, how often it holds the truth."""
    (large,) = single_model(100_000, 1_000_000, area, generator)
    truth = {name: estimate.value for name, estimate in _measures(large).items()}
    holds: dict[str, list[bool]] = {}

    def note(kind: str, interval: Interval | None, true: float) -> None:
        if interval is not None:
            holds.setdefault(kind, []).append(not interval.excludes(true))

    for _ in range(studies):
        one, other = single_model(positives, 10 * positives, area, generator, models=2)
        draws = patient_draws(int(one.patients.max()) + 1, RESAMPLES, generator)
        both = [_measures(scores, draws) for scores in (one, other)]
        for name, estimate in both[0].items():
            note(MEASURES[name].title, estimate.interval, truth[name])
        note(
            "AUROC, mean of two models",
            Sampled.over_seeds([found["auroc"].sampled for found in both]).interval,
            area,
        )
        study = DrawnStudy({"one": {(0, 0, 0): one}, "other": {(0, 0, 0): other}}, {})
        note("difference of two models", study.difference("one", "other").patient_interval, 0.0)
    return {kind: float(np.mean(held)) for kind, held in holds.items()}


def coverage_over_training(design: Design, studies: int, generator: np.random.Generator) -> float:
    """Return how often the interval over patients and training runs holds the true difference."""
    held = []
    for _ in range(studies):
        interval = draw(design, generator).difference("policy 1", "control").interval
        held.append(interval is not None and not interval.excludes(design.effects[0]))
    return float(np.mean(held))


def _measures(scores: Scores, draws: NDArray[np.int32] | None = None) -> dict[str, Estimate]:
    """Return the measures of one model at its threshold; without ``draws`` their values alone."""
    if draws is None:
        draws = np.ones((int(scores.patients.max()) + 1, 1), np.int32)
    return measure(scores, 0.1, draws, probabilities=True)


def main() -> None:
    """Print a table of each kind."""
    command = parser(__doc__)
    command.add_argument("--studies", type=int, default=200)
    command.add_argument("--only", choices=list(TABLES))
    command.add_argument("--seed", type=int, default=0)
    asked = command.parse_args()
    for name, table in TABLES.items():
        if asked.only in (None, name):
            Console(width=120).print(table(asked.studies, np.random.default_rng(asked.seed)))


def verdict_table(studies: int, generator: np.random.Generator) -> Table:
    """Return the share of null studies with a wrong verdict."""
    table = Table(
        "policies", "seeds", "pathologies", "images", "shared", "control", "ranking", title="wrong verdicts"
    )
    for design in NULL:
        of_control, of_ranking = (
            wrong_share(design, studies, judge, generator) for judge in (against_control, ranked)
        )
        shape = (design.policies, design.seeds, design.tasks, design.images, f"{design.shared:.0%}")
        table.add_row(*map(str, shape), f"{of_control:.1%}", f"{of_ranking:.1%}")
    return table


def power_table(studies: int, generator: np.random.Generator) -> Table:
    """Return how often a policy that is better is called so."""
    table = Table("images", "true difference", "seeds", "better", "equivalent", "worse", title="power")
    for design in POWER:
        shares = [f"{share:.1%}" for share in found(design, studies, generator).values()]
        table.add_row(str(design.images), f"{design.effect:+.2f}", str(design.seeds), *shares)
    return table


def interval_table(studies: int, generator: np.random.Generator) -> Table:
    """Return how often each kind of interval holds the truth."""
    sizes = (30, 100, 1000)
    table = Table("interval", "AUROC", *(f"{size} positives" for size in sizes), title="coverage")
    for area in (0.75, 0.9):
        by_size = [coverage(size, area, studies, generator) for size in sizes]
        for kind in by_size[-1]:
            table.add_row(kind, f"{area:g}", *(f"{held.get(kind, float('nan')):.1%}" for held in by_size))
    for seeds in (3, 5):
        held = [
            coverage_over_training(
                Design(1, seeds, images=images, shared=0.3, effects=(0.02,)), studies, generator
            )
            for images in (300, 1000, 5000)
        ]
        columns = [f"{share:.1%}" for share in held]
        table.add_row(f"difference, patients and {seeds} seeds; 300, 1,000, 5,000 images", "0.75", *columns)
    return table


def conclusion_table(studies: int, generator: np.random.Generator) -> Table:
    """Return which verdicts policies get, by their true difference, in studies of the article's shape."""
    table = Table(
        "classifiers", "true differences", "of which", *VERDICTS, "wrong in a study", title="conclusions"
    )
    for design, own in zip(ARTICLE, generator.spawn(len(ARTICLE)), strict=True):
        given = [against_control(draw(design, own)) for _ in range(studies)]
        truth = np.array(design.effects)
        wrong = [any(map(is_wrong, of_study, truth)) for of_study in given]
        for effect in sorted(set(design.effects), reverse=True):
            of_effect = [
                one for of_study in given for one, true in zip(of_study, truth, strict=True) if true == effect
            ]
            shares = [f"{np.mean([one == name for one in of_effect]):.1%}" for name in VERDICTS]
            label = ", ".join(f"{each:+.3f}" for each in design.effects)
            classifiers = f"{design.tasks} × {design.models}"
            table.add_row(classifiers, label, f"{effect:+.3f}", *shares, f"{np.mean(wrong):.1%}")
    return table


def is_wrong(verdict: Verdict, effect: float) -> bool:
    """Say whether a policy is called better or worse that is not."""
    return (verdict == "better" and effect <= 0) or (verdict == "worse" and effect >= 0)


TABLES = {
    "verdicts": verdict_table,
    "power": power_table,
    "intervals": interval_table,
    "conclusions": conclusion_table,
}


if __name__ == "__main__":
    main()
