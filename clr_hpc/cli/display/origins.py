"""Where each value of a study and of its runs is from: its file, an override, a default, or a measurement."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from clr_hpc.config.base import FrozenSpec
from clr_hpc.config.lr_range import AUTO
from clr_hpc.config.run import RunSpec
from clr_hpc.config.sections.stages import Pretraining
from clr_hpc.config.study import Study
from clr_hpc.config.task import OneClassTask

FILE, OVERRIDE, DEFAULT, MEASURED, BASELINE = "file", "--set", "default", "measured", "its baseline"
UNMEASURED = "not measured yet"
_ABSENT = object()


@dataclass(frozen=True)
class Value:
    """A value, by the keys that lead to it."""

    key: str
    """With dots: ``training.batch_size``."""
    value: Any
    origin: str


def values_of_study(study: Study, raw: Mapping[str, Any], overrides: Sequence[str]) -> Iterator[Value]:
    """Yield each value of a study.

    Args:
        study: as it was loaded.
        raw: the values of its file, without overrides.
        overrides: ``key=value``, as ``load_study`` takes them.
    """
    changed = [override.partition("=")[0].strip() for override in overrides]
    resolved = _all_values(study)
    del resolved["measured"]
    for key, value, is_in_file in _leaves("", resolved, raw):
        short = key.removeprefix("training.")
        is_set = any(each in (key, short) or key.startswith((f"{each}.", f"{each}[")) for each in changed)
        yield Value(key, value, OVERRIDE if is_set else FILE if is_in_file else DEFAULT)
    for one in study.measured:
        learner = f"{one.optimizer.name}, {one.architecture}, {one.task.name}"
        for name in ("lr_min", "lr_max", "lr"):
            yield Value(f"{name} ({learner})", getattr(one, name), MEASURED)


def _all_values(value: Any) -> Any:
    """Return what a spec holds as mappings and lists, also what ``model_dump`` leaves out since it is off."""
    if isinstance(value, FrozenSpec):
        return {name: _all_values(getattr(value, name)) for name in type(value).model_fields}
    if isinstance(value, dict):
        return {name: _all_values(inside) for name, inside in value.items()}
    return [_all_values(inside) for inside in value] if isinstance(value, list | tuple) else value


def _leaves(key: str, value: Any, raw: Any) -> Iterator[tuple[str, Any, bool]]:
    """Yield the keys and values inside a value, and whether the file gives them."""
    if isinstance(value, dict) and value:
        if raw is not _ABSENT and not isinstance(raw, dict):  # one word stands for all of it
            raw = {"name": raw} if "name" in value else dict.fromkeys(value, raw)
        for name, inside in value.items():
            given = _ABSENT if raw is _ABSENT else raw.get(name, _ABSENT)
            yield from _leaves(f"{key}.{name}" if key else str(name), inside, given)
    elif isinstance(value, list) and any(isinstance(each, dict) for each in value):
        for number, inside in enumerate(value):
            given = raw[number] if isinstance(raw, list) and number < len(raw) else _ABSENT
            yield from _leaves(f"{key}[{number}]", inside, given)
    else:
        yield key, value, raw is not _ABSENT


def values_of_run(spec: RunSpec, study: Study, origins: Mapping[str, str]) -> Iterator[Value]:
    """Yield each value of a run of a study.

    One that is fitted to features has no optimizer and no policy.

    Args:
        spec: of the run.
        study: all of whose rates are numbers or measured.
        origins: of the study's values, by their keys.
    """
    tasks = {"binary": "pathologies", "one_class": "one_class", "pretraining": "stages.pretrain"}[spec.task.kind]
    yield Value("task", spec.task.name, next(origin for key, origin in origins.items() if key.startswith(tasks)))
    yield Value("architecture", spec.architecture, origins["architectures"])
    if spec.task.kind == "one_class":
        yield from _values_of_method(spec.task, study, origins)
    if not spec.is_fitted:
        position = study.optimizers.index(spec.optimizer)
        for name, value in _all_values(spec.optimizer).items():
            yield Value(f"optimizer.{name}", value, origins[f"optimizers[{position}].{name}"])
    yield Value("seed", spec.seed, origins["seeds"])
    yield Value("stage", spec.stage, FILE)
    if spec.start is not None:
        yield Value("starts from", spec.start.baseline.name, BASELINE)
        for name in ("weights", "optimizer"):
            if spec.stage != "fit":
                yield Value(f"start.{name}", getattr(spec.start, name), origins[f"stages.retrain.{name}"])
    for name, value in () if spec.is_fitted else _all_values(spec.policy).items():
        yield Value(f"policy.{name}", value, _origin_in_policy(name, spec, study, origins))
    for key, value, _ in _leaves("training", _all_values(spec.training), _ABSENT):
        yield Value(key, value, _origin_in_training(key, spec, study, origins))


def _values_of_method(task: OneClassTask, study: Study, origins: Mapping[str, str]) -> Iterator[Value]:
    group, position = next(
        (group, position)
        for group, one in enumerate(study.one_class)
        for position, candidate in enumerate(one.tasks())
        if candidate == task
    )
    for key, value, _ in _leaves("method", _all_values(task.method), _ABSENT):
        written = key.replace("method", f"one_class[{group}].methods[{position}]", 1)
        yield Value(key, value, origins.get(written, DEFAULT))
    yield Value("threshold_quantile", task.threshold_quantile, origins[f"one_class[{group}].threshold_quantile"])


def unmeasured(value: Value) -> Value:
    """Return ``auto`` in place of a measured value, where its range tests are still to be made."""
    return Value(value.key, AUTO, UNMEASURED) if value.origin == MEASURED else value


def _origin_in_training(key: str, spec: RunSpec, study: Study, origins: Mapping[str, str]) -> str:
    name = _section(spec)
    stage = study.stages.trained.get(name)
    if stage is None or (spec.stage == "fit" and spec.start is None):  # fitted to a network that has weights
        return origins.get(key, FILE)
    if key == "training.epochs" and stage.epochs is not None:
        return origins[f"stages.{name}.epochs"]
    if key == "training.early_stop_epochs" and not stage.early_stop:
        return origins[f"stages.{name}.early_stop"]
    if isinstance(stage, Pretraining) and key.startswith("training.augmentation"):
        return origins[key.replace("training", "stages.pretrain", 1)]
    if isinstance(stage, Pretraining) and key == "training.measure_training_split_every":
        return DEFAULT
    return origins.get(key, DEFAULT)


def _section(spec: RunSpec) -> str:
    """Return which of ``stages`` a run's values are from."""
    if spec.stage == "fit":
        return "baseline" if spec.start is None else spec.start.baseline.stage
    return "retrain" if spec.stage == "control" else spec.stage


def _origin_in_policy(key: str, spec: RunSpec, study: Study, origins: Mapping[str, str]) -> str:
    if spec.stage == "control":
        retraining = study.stages.retrain
        is_own_rate = key == "lr_max" and retraining is not None and retraining.control != "as_baseline"
        control = [origin for each, origin in origins.items() if each.startswith("stages.retrain.control")]
        return control[0] if is_own_rate else BASELINE
    name = _section(spec)
    values = _all_values(spec.policy)
    position, given = next(
        (position, given)
        for position, given in enumerate(study.stages.trained[name].policies)
        if all(value in (AUTO, values.get(each)) for each, value in given.items())
    )
    if key in given:
        return MEASURED if given[key] == AUTO else origins[f"stages.{name}.policies[{position}].{key}"]
    rates = study.rates.get(spec.optimizer.name)
    if rates is None or key not in type(rates).model_fields:
        return DEFAULT
    return MEASURED if getattr(rates, key) == AUTO else origins[f"rates.{spec.optimizer.name}.{key}"]
