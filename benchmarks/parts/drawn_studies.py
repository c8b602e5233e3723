"""Studies drawn at random, whose true differences are known: what verdicts and intervals are tried on."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from clr_hpc.reporting.read.predictions import Scores
from clr_hpc.reporting.stats.difference import Difference, Influence
from clr_hpc.reporting.stats.pairs import Pair, balanced

AUROC = 0.75
"""Of the control."""
IMAGES_OF_A_PATIENT = {1: 0.6, 2: 0.2, 3: 0.1, 4: 0.1}


@dataclass(frozen=True)
class Design:
    """A study and the truth behind it."""

    policies: int = 1
    """That are compared with the control."""
    seeds: int = 3
    tasks: int = 14
    images: int = 1000
    """In the test split."""
    training_noise: float = 0.015
    """Standard deviation of a run's true AUROC."""
    shared: float = 0.0
    """Share of that noise's variance that all tasks of a policy and seed have in common."""
    effects: tuple[float, ...] = ()
    """True differences in AUROC of the first policies from the control; the others differ in nothing."""
    models: int = 1
    """Architectures and optimizers, each trained on every task."""


@dataclass(frozen=True)
class DrawnStudy:
    """Scores of all runs on the test images, and the AUROC that validation found."""

    scores: dict[str, dict[tuple[int, int, int], Scores]]
    """By policy, then by task, model and seed; the control is one of them."""
    validation: dict[str, float]
    """Mean AUROC over tasks, models and seeds on as many other images."""

    _influences: dict[int, Influence] = field(default_factory=dict)

    def _influence(self, scores: Scores) -> Influence:
        """Return what patients add to an AUROC, computed once: a ranking compares all pairs."""
        if id(scores) not in self._influences:
            self._influences[id(scores)] = Influence.of(scores)
        return self._influences[id(scores)]

    def difference(self, one: str, other: str) -> Difference:
        """Return the mean difference in test AUROC, as the report computes it."""
        pairs = [
            Pair(str(task), str(model), seed, scores, self.scores[other][task, model, seed])
            for (task, model, seed), scores in self.scores[one].items()
        ]
        return balanced(pairs).auroc(self._influence)


def draw(design: Design, generator: np.random.Generator) -> DrawnStudy:
    """Draw one study.

    Scores are normal. Half of their variance is an image's difficulty, which all runs share and the images of a
    patient in part; the other half is a run's own. Labels of a patient's images hang together. A pathology is
    found on 2 to 20 % of the images.
    """
    names = ["control", *(f"policy {number}" for number in range(1, design.policies + 1))]
    patients = _patients(design.images, generator)
    common = generator.normal(0, design.training_noise * np.sqrt(design.shared), (len(names), design.seeds))
    scores: dict[str, dict[tuple[int, int, int], Scores]] = {name: {} for name in names}
    effects = np.zeros(len(names))
    effects[1 : 1 + len(design.effects)] = design.effects
    truth = np.zeros((len(names), design.tasks, design.models, design.seeds))
    for task in range(design.tasks):
        shape = (len(names), design.models, design.seeds)
        own = generator.normal(0, design.training_noise * np.sqrt(1 - design.shared), shape)
        truth[:, task] = AUROC + effects[:, None, None] + common[:, None] + own
        labels = _labels(patients, float(np.exp(generator.uniform(np.log(0.02), np.log(0.2)))), generator)
        difficulty = _of_patients(patients, 0.36, generator)
        images = np.arange(len(labels), dtype=np.int32)
        for place, model, seed in np.ndindex(shape):
            area = np.clip(truth[place, task, model, seed], 0.05, 0.99)
            own_noise = difficulty + generator.normal(size=len(labels))
            drawn = labels * np.sqrt(2) * ndtri(area) + np.sqrt(0.5) * own_noise
            scores[names[place]][task, model, seed] = Scores(images, patients, labels, drawn)
    # what other patients add is about the same for all policies, so that it decides nothing
    seen = truth.mean(axis=(1, 2, 3)) + generator.normal(0, 0.003, len(names))
    return DrawnStudy(scores, dict(zip(names, seen.tolist(), strict=True)))


def _patients(images: int, generator: np.random.Generator) -> NDArray[np.int32]:
    counts = generator.choice(list(IMAGES_OF_A_PATIENT), size=images, p=list(IMAGES_OF_A_PATIENT.values()))
    return np.repeat(np.arange(images, dtype=np.int32), counts)[:images]


def _of_patients(patients: NDArray[np.int32], share: float, generator: np.random.Generator) -> NDArray[np.float64]:
    """Return standard normal numbers, of whose variance the images of a patient have a share in common."""
    of_patient = generator.normal(size=int(patients.max()) + 1)[patients]
    mixed: NDArray[np.float64] = np.sqrt(share) * of_patient + np.sqrt(1 - share) * generator.normal(
        size=len(patients)
    )
    return mixed


def _labels(patients: NDArray[np.int32], prevalence: float, generator: np.random.Generator) -> NDArray[np.bool_]:
    labels: NDArray[np.bool_] = _of_patients(patients, 0.49, generator) > ndtri(1 - prevalence)
    if labels.sum() < 3:
        labels[np.flatnonzero(np.diff(patients, prepend=-1))[:3]] = True
    return labels


def single_model(
    positives: int, patients: int, area: float, generator: np.random.Generator, models: int = 1
) -> list[Scores]:
    """Draw models of one task on the same images.

    Args:
        positives: patients with the finding that are expected; each has it with the same probability.
        patients: most of them with one image.
        area: the true AUROC.
        generator: of all draws.
        models: to draw.
    """
    share = positives / patients
    images = generator.choice([1, 2, 3], patients, p=[0.7, 0.2, 0.1])
    owners = np.repeat(np.arange(patients, dtype=np.int32), images)
    labels = (generator.random(patients) < share)[owners]
    difficulty = _of_patients(owners, 0.36, generator)
    distance = np.sqrt(2) * ndtri(area)
    drawn = []
    for _ in range(models):
        latent = labels * distance + np.sqrt(0.5) * (difficulty + generator.normal(size=len(labels)))
        # the probability of a positive, from the normal densities of the two classes
        odds = share / (1 - share) * np.exp(latent * distance - distance**2 / 2)
        drawn.append(Scores(np.arange(len(labels), dtype=np.int32), owners, labels, odds / (1 + odds)))
    return drawn
