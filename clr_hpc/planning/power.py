"""Which true difference a study can find, said before it is trained.

The report judges a mean difference over patients and seeds (docs/explanation/statistics.md). How sure it will be
depends on the test patients, which the pack counts, and on the noise of training, which nobody knows beforehand.
Here it is assumed to be what it was in 141 runs of this project on real films.
"""

from dataclasses import dataclass, replace

import numpy as np

from clr_hpc.config.policy import POLICIES
from clr_hpc.config.study import Study
from clr_hpc.store.pack_record import PackRecord, label_counts

POWER = 0.8
ERROR = 0.05
"""Of all verdicts of a study together."""
AUROC = 0.75
"""Assumed of every pathology."""
TRAINING_NOISE = 0.015
"""Assumed standard deviation, over seeds, of a run's true AUROC."""
SHARED = 0.1
"""Assumed share of that variance which all pathologies of a policy and seed have in common."""
CORRELATION = 0.5
"""Assumed correlation of the errors that the same test images cause in two runs."""
MOST_SEEDS = 200


@dataclass(frozen=True, slots=True)
class Design:
    """What the power of a study depends on."""

    positives: tuple[int, ...]
    """Test images with the finding, by pathology."""
    negatives: tuple[int, ...]
    seeds: int
    policies: int
    """That the study asks about."""

    @property
    def variance(self) -> float:
        """Variance of the mean difference of one seed."""
        of_images = sum(map(auroc_variance, self.positives, self.negatives)) / len(self.positives) ** 2
        of_training = TRAINING_NOISE**2 * (SHARED + (1 - SHARED) / len(self.positives))
        return 2 * (of_images * (1 - CORRELATION) + of_training)

    def power(self, difference: float) -> float:
        """Return the probability that a true ``difference`` of one policy is found; 0 with one seed.

        Seeds alone are replicates, so it is Student's t with one degree of freedom less than seeds, at
        the level of Holm's first step.
        """
        from scipy import stats  # half a second, which a study without a question need not wait

        if self.seeds < 2:
            return 0.0
        degrees = self.seeds - 1
        critical = stats.t.isf(ERROR / self.policies / 2, degrees)
        return float(stats.nct.sf(critical, degrees, difference / np.sqrt(self.variance / self.seeds)))

    def smallest_difference(self) -> float | None:
        """Return the true difference that is found with 80 % power; None where there is none below 0.25."""
        from scipy import optimize

        if self.power(1 - AUROC) < POWER:
            return None
        found: float = optimize.brentq(lambda difference: self.power(difference) - POWER, 0.0, 1 - AUROC)
        return found

    def seeds_for(self, difference: float) -> int | None:
        """Return the number of seeds that find a true ``difference`` with 80 % power; None: too many."""
        tried = range(2, MOST_SEEDS + 1)
        return next((seeds for seeds in tried if replace(self, seeds=seeds).power(difference) >= POWER), None)


def auroc_variance(positives: int, negatives: int) -> float:
    """Return the variance of an AUROC of 0.75 (Hanley & McNeil 1982, doi:10.1148/radiology.143.1.7063747)."""
    q1, q2 = AUROC / (2 - AUROC), 2 * AUROC**2 / (1 + AUROC)
    spread = AUROC * (1 - AUROC) + (positives - 1) * (q1 - AUROC**2) + (negatives - 1) * (q2 - AUROC**2)
    return spread / (positives * negatives)


def power_remark(study: Study, pack: PackRecord) -> str | None:
    """Return what the study can find, in a sentence; None where it asks nothing that is judged."""
    design = design_of(study, pack)
    if design is None:
        return None
    margin = study.question.margin
    enough = design.seeds_for(margin)
    need = f"more than {MOST_SEEDS} seeds" if enough is None else f"{enough} seeds"
    smallest = design.smallest_difference()
    if design.seeds < 2:
        finds = "one seed gets no verdict"
    elif smallest is None:
        finds = f"{design.seeds} seeds find no difference below {1 - AUROC:g} AUROC with 80 % power"
    else:
        finds = f"{design.seeds} seeds find a true difference of {smallest:.3f} AUROC with 80 % power"
    return (
        f"power: {finds}; a difference of {margin:g} takes {need} ({_listed(design.policies)}, "
        f"{sum(design.positives)} positive test images; assumes a training noise of {TRAINING_NOISE:g} AUROC)"
    )


def _listed(policies: int) -> str:
    return "1 policy" if policies == 1 else f"{policies} policies"


def design_of(study: Study, pack: PackRecord) -> Design | None:
    """Return what the power of a study's question depends on; None where there is no such question."""
    retraining = study.stages.retrain
    labels = label_counts(pack, "test", study.training.select)
    counted = [labels[name] for name in study.findings if name in labels]
    sizes = [(each.get("positive", 0), each.get("negative", 0)) for each in counted]
    known = [size for size in sizes if min(size) > 2]
    if retraining is None or not known:
        return None
    asked = sum(
        study.question.asks_about(policy["name"], POLICIES[policy["name"]].is_cyclical)
        for policy in retraining.policies
    )
    if not asked:
        return None
    return Design(
        tuple(positive for positive, _ in known),
        tuple(negative for _, negative in known),
        len(study.seeds),
        asked,
    )
