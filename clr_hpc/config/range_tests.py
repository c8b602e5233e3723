"""From a study to its range tests, which are runs like others."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from clr_hpc.config.optimizer import Optimizer, Sgd
from clr_hpc.config.policy import Constant
from clr_hpc.config.range_test import AUTO, MeasuredRates
from clr_hpc.config.run import RunSpec
from clr_hpc.config.task import Autoencoder, BinaryTask, EmbeddingMethod, Task

if TYPE_CHECKING:
    from clr_hpc.config.study import Study

TESTS_FOLDER = "range-tests"
"""Beside the studies' folders, for the tests of all of them."""
RESTING_RATE = 1e-12
"""So low that no weight in single precision moves."""


def range_test_study(study: "Study", optimizers: tuple[Optimizer, ...] | None = None) -> "Study":
    """Return the study whose runs are the range tests of ``study``, with these of its optimizers or with all."""
    from clr_hpc.config.study import Stages

    changes = {"stages": Stages(range_test=True), "optimizers": optimizers or study.optimizers, "measured": ()}
    return study.model_copy(update=changes)


def range_tests(study: "Study", pack_checksum: str) -> tuple[RunSpec, ...]:
    """Return the range tests of a study: for each architecture and learner, optimizer and seed.

    Before those of each architecture and learner stand their references, one a seed: the same batches, seen by a
    network that does not learn (``is_reference``). The epochs, stages and seeds of the study don't count, so that
    studies that differ in these alone share their tests.
    """
    tests: list[RunSpec] = []
    for architecture, task in _learners(study):
        shared = {
            "pack_checksum": pack_checksum,
            "task": task,
            "architecture": architecture,
            "stage": "range_test",
            "training": study.training.model_copy(
                update={
                    "epochs": study.range_test.epochs,
                    "early_stop_epochs": None,
                    "measure_training_split_every": 1,
                }
            ),
        }
        for seed in study.range_test.seeds:
            tests.append(RunSpec(**shared, optimizer=_REST, policy=Constant(lr_max=RESTING_RATE), seed=seed))
        for optimizer, seed in product(study.optimizers, study.range_test.seeds):
            ramp = study.range_test.ramp(optimizer.name)
            tests.append(RunSpec(**shared, optimizer=optimizer, policy=ramp, seed=seed))
    return tuple(tests)


def is_reference(test: RunSpec) -> bool:
    """Say whether a range test is one whose rate stays so low that nothing is learned."""
    return test.policy.name == "constant"


def auto_optimizers(study: "Study") -> tuple[Optimizer, ...]:
    """Return the optimizers of a study that have a rate which is ``auto``."""
    stages = study.stages
    if stages.range_test:
        return ()
    given = [
        policy for stage in (stages.baseline, stages.retrain, stages.scratch) if stage for policy in stage.policies
    ]
    if any(AUTO in (policy.get("lr_min"), policy.get("lr_max")) for policy in given):
        return study.optimizers
    return tuple(
        optimizer
        for optimizer in study.optimizers
        if (rates := study.rates.get(optimizer.name)) and AUTO in (rates.lr_min, rates.lr_max)
    )


def stand_ins(study: "Study") -> Iterator[MeasuredRates]:
    """Yield rates for all that may be ``auto``, with which a study can be checked before anything is measured."""
    for (architecture, task), optimizer in product(_learners(study), study.optimizers):
        ramp = study.range_test.ramp(optimizer.name)
        yield _stand_in(architecture, optimizer, task, ramp.lr_min, ramp.lr_max)


def _stand_in(architecture: str, optimizer: Optimizer, task: Task, lr_min: float, lr_max: float) -> MeasuredRates:
    values = {"architecture": architecture, "optimizer": optimizer, "task": task, "tests": ()}
    return MeasuredRates.model_validate(values | {"lr_min": lr_min, "lr_max": lr_max, "lr": lr_max})


def _learners(study: "Study") -> Iterator[tuple[str, Task]]:
    """Yield each architecture with one binary classifier, and with each one-class method that takes steps."""
    pathology = study.range_test.pathology or next(iter(study.pathologies), None)
    tasks: list[Task] = [] if pathology is None else [BinaryTask(pathology=pathology)]
    tasks += [
        task for group in study.one_class for task in group.tasks() if not isinstance(task.method, EmbeddingMethod)
    ]
    for architecture, task in product(study.architectures, tasks):
        has_own_network = task.kind == "one_class" and isinstance(task.method, Autoencoder)
        if not has_own_network or architecture == study.architectures[0]:
            yield architecture, task


_REST = Sgd(momentum=0.0)
