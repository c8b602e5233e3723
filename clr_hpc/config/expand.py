"""From a study to its runs, and to its range tests, which are runs like others."""

from collections.abc import Iterator
from itertools import product
from typing import Any

from pydantic import TypeAdapter

from clr_hpc.config.lr_range import AUTO, MeasuredRates
from clr_hpc.config.optimizer import Optimizer, Sgd
from clr_hpc.config.policy import POLICIES, Constant, Policy
from clr_hpc.config.run import Features, RunSpec, Stage, Training, WarmStart
from clr_hpc.config.sections.one_class import PRETRAIN
from clr_hpc.config.sections.stages import Pretraining, StageOfStudy, Stages
from clr_hpc.config.study import Study
from clr_hpc.config.task import BinaryTask, OneClassTask, PretrainingTask, Task


def expand(study: Study, pack_checksum: str) -> tuple[RunSpec, ...]:
    """Return the runs of a study; compared runs are adjacent, and each run follows its baseline."""
    if study.stages.range_test:
        return range_tests(study, pack_checksum)
    binary = [BinaryTask(pathology=pathology) for pathology in study.findings]
    one_class = [(task, group) for group in study.one_class for task in group.tasks()]
    grid = list(product(study.architectures, study.optimizers, study.seeds))
    runs: list[RunSpec] = []
    for architecture, optimizer, seed in grid:
        runs += _Expansion(study, pack_checksum, architecture, optimizer, seed).pretrained()
    for finding, (architecture, optimizer, seed) in product(binary, grid):
        runs += _Expansion(study, pack_checksum, architecture, optimizer, seed).trained(finding)
    for (task, group), (architecture, optimizer, seed) in product(one_class, grid):
        first = (architecture, optimizer) == (study.architectures[0], study.optimizers[0])
        if task.method.has_own_network and architecture != study.architectures[0]:
            continue  # or the same network would be trained again for each architecture
        expansion = _Expansion(study, pack_checksum, architecture, optimizer, seed)
        if task.method.is_fitted and group.features is not None:
            runs += [expansion.fitted_to(task, group.features)] if first else []
        elif task.method.is_fitted:
            runs += expansion.fitted(task, str(group.features_of))
        else:
            runs += expansion.trained(task)
    return tuple(runs)


def runs_of_one_seed(study: Study, pack_checksum: str) -> tuple[RunSpec, ...]:
    """Return the runs of a study's first seed, also where rates are still to be measured: to check them."""
    return expand(with_placeholders(of_one_seed(study)), pack_checksum)


class _Expansion:
    """The runs of one architecture, optimizer and seed."""

    def __init__(
        self, study: Study, pack_checksum: str, architecture: str, optimizer: Optimizer, seed: int
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

    def pretrained(self) -> Iterator[RunSpec]:
        """Yield trainings without labels."""
        stage = self._study.stages.pretrain
        if stage is not None:
            task = PretrainingTask(objective=stage.objective)
            for policy in self._policies(task, stage):
                yield self._run(task, "pretrain", policy, stage)

    def fitted(self, task: OneClassTask, features_of: str) -> Iterator[RunSpec]:
        """Yield a fit to the features of each baseline of a pathology, or of each pretrained network."""
        is_pretrained = features_of == PRETRAIN
        starts = self.pretrained() if is_pretrained else self._baselines(BinaryTask(pathology=features_of))
        for baseline in starts:
            values = self._shared | {"policy": baseline.policy, "training": baseline.training}
            yield RunSpec(task=task, stage="fit", start=WarmStart(baseline=baseline), **values)

    def fitted_to(self, task: OneClassTask, features: Features) -> RunSpec:
        """Return a fit to the features of a network whose weights are given; nothing of it depends on a policy."""
        values = self._shared | {"architecture": features.network, "policy": Constant(lr_max=RESTING_RATE)}
        return RunSpec(task=task, stage="fit", training=features.applied_to(self._study.training), **values)

    def _baselines(self, task: Task) -> Iterator[RunSpec]:
        stage = self._study.stages.baseline
        if stage is not None:
            for policy in self._policies(task, stage):
                yield self._run(task, "baseline", policy, stage)

    def _retrained(self, baseline: RunSpec) -> Iterator[RunSpec]:
        stage = self._study.stages.retrain
        assert stage is not None
        start = WarmStart(baseline=baseline, weights=stage.weights, optimizer=stage.optimizer)
        epochs = self._epochs(stage)
        policies = tuple(self._policies(baseline.task, stage))
        # the baseline's own decay, begun anew and as long as the retraining
        decay = baseline.policy.lasting(epochs)
        peaks = [decay.lr_max]
        if stage.control == "rate_matched":
            peaks = [policy.lr_max for policy in policies]
        elif stage.control != "as_baseline":
            peaks = [stage.control[self._optimizer.name]]
        for control in dict.fromkeys(_peaking_at(decay, peak) for peak in peaks):
            yield self._run(baseline.task, "control", control, stage, start)
        for policy in policies:
            yield self._run(baseline.task, "retrain", policy, stage, start)

    def _run(
        self, task: Task, kind: Stage, policy: Policy, stage: StageOfStudy, start: WarmStart | None = None
    ) -> RunSpec:
        changes: dict[str, Any] = {"epochs": self._epochs(stage)}
        if not stage.early_stop:
            changes["early_stop_epochs"] = None
        if isinstance(stage, Pretraining):
            # its loss on the training split says nothing that that on validation doesn't
            changes |= {"augmentation": stage.augmentation, "measure_training_split_every": changes["epochs"]}
        training = self._study.training.model_copy(update=changes)
        return RunSpec(task=task, stage=kind, policy=policy, training=training, start=start, **self._shared)

    def _policies(self, task: Task, stage: StageOfStudy) -> Iterator[Policy]:
        rates = self._study.rates.get(self._optimizer.name)
        measured = self._study.measured
        suiting = [one for one in measured if one.suits(self._shared["architecture"], self._optimizer, task)]
        for given in stage.policies:
            shared = {} if rates is None else rates.model_dump()
            try:
                yield complete(
                    given, shared, self._epochs(stage), self._optimizer.name, suiting[0] if suiting else None
                )
            except UnmeasuredRateError as error:
                if not isinstance(stage, Pretraining):
                    raise
                raise ValueError(
                    f"{error.rate} of stages.pretrain is auto, and LR range tests need labels; give its policies "
                    "lr_max, and lr_min where they have one"
                ) from None

    def _epochs(self, stage: StageOfStudy) -> int:
        return stage.epochs or self._study.training.epochs


def _peaking_at(policy: Policy, lr_max: float) -> Policy:
    """Return a policy with another highest rate.

    Raises:
        ValueError: its ``lr_min`` is not below that.
    """
    return _POLICY.validate_python(policy.model_dump() | {"lr_max": lr_max})


class UnmeasuredRateError(ValueError):
    """A rate is ``auto`` and no LR range test has measured it."""

    def __init__(self, rate: str) -> None:
        """Name the rate, such as ``lr_min of sgd with policy cosine``."""
        super().__init__(
            f"{rate} is auto, and no LR range test suits; 'clr-hpc range-test' makes it, and so does "
            "'clr-hpc run' with --on here or ray"
        )
        self.rate = rate


def complete(
    given: dict[str, Any], rates: dict[str, Any], epochs: int, optimizer: str, measured: MeasuredRates | None
) -> Policy:
    """Complete a policy of a study's file.

    Args:
        given: ``{name: ..., ...}``; its values win.
        rates: ``lr_min`` and ``lr_max`` of the study for this optimizer; empty where it has none.
        epochs: of the policy's stage.
        optimizer: its name.
        measured: the rates that replace ``auto``.

    Raises:
        UnmeasuredRateError: a rate is ``auto`` and ``measured`` is None.
        ValueError: there is no rate, or the policy can't be so.
    """
    if not rates and "lr_max" not in given:
        raise ValueError(f"no rate for {optimizer} with policy {given['name']}; add rates: {{{optimizer}: ...}}")
    policy = POLICIES[given["name"]]
    shared = {name: rate for name, rate in rates.items() if name in policy.model_fields}
    values = shared | policy.defaults(epochs) | given
    for name in ("lr_min", "lr_max"):
        if values.get(name) == AUTO:
            if measured is None:
                raise UnmeasuredRateError(f"{name} of {optimizer} with policy {given['name']}")
            # waves move between two bounds, other policies start at one rate
            values[name] = getattr(measured, "lr" if name == "lr_max" and not policy.is_cyclical else name)
    return _POLICY.validate_python(values)


_POLICY: TypeAdapter[Policy] = TypeAdapter(Policy)
RESTING_RATE = 1e-12
"""So low that no weight in single precision moves."""


def range_test_study(study: Study, optimizers: tuple[Optimizer, ...] | None = None) -> Study:
    """Return the study whose runs are the range tests of ``study``, with these of its optimizers or with all."""
    changes = {"stages": Stages(range_test=True), "optimizers": optimizers or study.optimizers, "measured": ()}
    return study.model_copy(update=changes)


def range_tests(study: Study, pack_checksum: str) -> tuple[RunSpec, ...]:
    """Return the range tests of a study: for each architecture and learner, optimizer and seed.

    The tests of each architecture and learner follow their references, one per seed: the same batches, seen by a
    network that does not learn (``is_reference``). The epochs, stages and seeds of the study don't count, so that
    studies that differ in these alone share their tests.
    """
    tests: list[RunSpec] = []
    fields = Training.model_fields
    unused = {name: fields[name].default for name in ("measure_training_split_every", "training_accuracy_images")}
    training = {"epochs": study.range_test.epochs, "early_stop_epochs": None, **unused}
    for architecture, task in _learners(study):
        shared = {
            "pack_checksum": pack_checksum,
            "task": task,
            "architecture": architecture,
            "stage": "range_test",
            "training": study.training.model_copy(update=training),
        }
        for seed in study.range_test.seeds:
            tests.append(RunSpec(**shared, optimizer=_REST, policy=Constant(lr_max=RESTING_RATE), seed=seed))
        for optimizer, seed in product(study.optimizers, study.range_test.seeds):
            ramp = study.range_test.ramp(optimizer.name)
            tests.append(RunSpec(**shared, optimizer=optimizer, policy=ramp, seed=seed))
    return tuple(tests)


def is_reference(test: RunSpec) -> bool:
    """Return whether an LR range test is a reference: its rate is too low to learn anything."""
    return isinstance(test.policy, Constant)


def auto_optimizers(study: Study) -> tuple[Optimizer, ...]:
    """Return the optimizers of a study that have a rate which is ``auto``."""
    stages = study.stages
    if stages.range_test:
        return ()
    given = [policy for stage in stages.trained.values() for policy in stage.policies]
    if any(AUTO in (policy.get("lr_min"), policy.get("lr_max")) for policy in given):
        return study.optimizers
    return tuple(
        optimizer
        for optimizer in study.optimizers
        if (rates := study.rates.get(optimizer.name)) and AUTO in (rates.lr_min, rates.lr_max)
    )


def placeholders(study: Study) -> Iterator[MeasuredRates]:
    """Yield rates for all that may be ``auto``, with which a study can be checked before anything is measured."""
    for (architecture, task), optimizer in product(_learners(study), study.optimizers):
        ramp = study.range_test.ramp(optimizer.name)
        yield MeasuredRates(
            architecture=architecture,
            optimizer=optimizer,
            task=task,
            tests=(),
            lr_min=ramp.lr_min,
            lr_max=ramp.lr_max,
            lr=ramp.lr_max,
        )


def with_placeholders(study: Study, *measured: MeasuredRates) -> Study:
    """Return the study with a rate for all that may be ``auto``: these where they suit, else placeholders."""
    return study.model_copy(update={"measured": (*study.measured, *measured, *placeholders(study))})


def of_one_seed(study: Study) -> Study:
    """Return the study with its first seed: nothing but their number depends on the others."""
    return study.model_copy(update={"seeds": study.seeds[:1]})


def _learners(study: Study) -> Iterator[tuple[str, Task]]:
    """Yield each architecture with one binary classifier, and with each one-class method that takes steps."""
    pathology = study.range_test.pathology or next(iter(study.findings), None)
    tasks: list[Task] = [] if pathology is None else [BinaryTask(pathology=pathology)]
    tasks += [task for group in study.one_class for task in group.tasks() if not task.method.is_fitted]
    for architecture, task in product(study.architectures, tasks):
        has_own_network = task.kind == "one_class" and task.method.has_own_network
        if not has_own_network or architecture == study.architectures[0]:
            yield architecture, task


_REST = Sgd(momentum=0.0)
