"""From a study to its runs."""

from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING, Any

from clr_hpc.config.optimizer import Optimizer
from clr_hpc.config.policy import Policy
from clr_hpc.config.policy_completion import complete
from clr_hpc.config.range_tests import range_tests
from clr_hpc.config.run import RunSpec, Start
from clr_hpc.config.task import Autoencoder, BinaryTask, EmbeddingMethod, OneClassTask, Task

if TYPE_CHECKING:
    from clr_hpc.config.study import StageOfStudy, Study


def expand(study: "Study", pack_checksum: str) -> tuple[RunSpec, ...]:
    """Return the runs of a study; what is compared stands together, and each run after the one it starts from."""
    if study.stages.range_test:
        return range_tests(study, pack_checksum)
    binary = [BinaryTask(pathology=pathology) for pathology in study.pathologies]
    one_class = [(task, group.features_of) for group in study.one_class for task in group.tasks()]
    grid = list(product(study.architectures, study.optimizers, study.seeds))
    runs: list[RunSpec] = []
    for finding, (architecture, optimizer, seed) in product(binary, grid):
        runs += _Expansion(study, pack_checksum, architecture, optimizer, seed).trained(finding)
    for (task, features_of), (architecture, optimizer, seed) in product(one_class, grid):
        if isinstance(task.method, Autoencoder) and architecture != study.architectures[0]:
            continue  # it has a network of its own, which would be trained again for each architecture
        expansion = _Expansion(study, pack_checksum, architecture, optimizer, seed)
        if isinstance(task.method, EmbeddingMethod):
            runs += expansion.fitted(task, BinaryTask(pathology=str(features_of)))
        else:
            runs += expansion.trained(task)
    return tuple(runs)


class _Expansion:
    """The runs of one architecture, optimizer and seed."""

    def __init__(
        self, study: "Study", pack_checksum: str, architecture: str, optimizer: Optimizer, seed: int
    ) -> None:
        self._study = study
        self._optimizer = optimizer
        self._shared: dict[str, Any] = {
            "pack_checksum": pack_checksum,
            "architecture": architecture,
            "optimizer": optimizer,
            "seed": seed,
        }

    def trained(self, task: Task) -> Iterator[RunSpec]:
        """Yield baselines, each followed by its control and retrainings, and then what is trained from scratch."""
        stages = self._study.stages
        for baseline in self._baselines(task):
            yield baseline
            if stages.retrain is not None:
                yield from self._retrained(baseline)
        if stages.scratch is not None:
            for policy in self._policies(task, stages.scratch):
                yield self._run(task, "scratch", policy, stages.scratch)

    def fitted(self, task: OneClassTask, features_of: BinaryTask) -> Iterator[RunSpec]:
        """Yield a fit to the features of each baseline."""
        for baseline in self._baselines(features_of):
            values = self._shared | {"policy": baseline.policy, "training": baseline.training}
            yield RunSpec(task=task, stage="fit", start=Start(baseline=baseline), **values)

    def _baselines(self, task: Task) -> Iterator[RunSpec]:
        stage = self._study.stages.baseline
        if stage is not None:
            for policy in self._policies(task, stage):
                yield self._run(task, "baseline", policy, stage)

    def _retrained(self, baseline: RunSpec) -> Iterator[RunSpec]:
        stage = self._study.stages.retrain
        assert stage is not None
        start = Start(baseline=baseline, weights=stage.weights, optimizer=stage.optimizer)
        epochs = self._epochs(stage)
        # the baseline's own decay, begun anew and as long as the retraining
        lasting = {"total_epochs": epochs} if hasattr(baseline.policy, "total_epochs") else {}
        control = baseline.policy.model_copy(update=lasting)
        yield self._run(baseline.task, "control", control, stage, start)
        for policy in self._policies(baseline.task, stage):
            yield self._run(baseline.task, "retrain", policy, stage, start)

    def _run(
        self, task: Task, kind: str, policy: Policy, stage: "StageOfStudy", start: Start | None = None
    ) -> RunSpec:
        training = self._study.training.model_copy(update={"epochs": self._epochs(stage)})
        values = self._shared | {
            "task": task,
            "stage": kind,
            "policy": policy,
            "training": training,
            "start": start,
        }
        return RunSpec.model_validate(values)

    def _policies(self, task: Task, stage: "StageOfStudy") -> Iterator[Policy]:
        rates = self._study.rates.get(self._optimizer.name)
        measured = self._study.measured
        suiting = [one for one in measured if one.suits(self._shared["architecture"], self._optimizer, task)]
        for given in stage.policies:
            shared = {} if rates is None else rates.model_dump()
            yield complete(
                given, shared, self._epochs(stage), self._optimizer.name, suiting[0] if suiting else None
            )

    def _epochs(self, stage: "StageOfStudy") -> int:
        return stage.epochs or self._study.training.epochs
