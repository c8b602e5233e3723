"""The study and the runs of one trial."""

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from clr_hpc.config.base import explain, unknown
from clr_hpc.config.expand import auto_optimizers, expand, of_one_seed
from clr_hpc.config.run import RunSpec
from clr_hpc.config.sections.one_class import PRETRAIN
from clr_hpc.config.study import Study
from clr_hpc.config.tune import Range, Tuning, UpToWhatFits

Values = Mapping[str, float]
"""A value for each name in the space of a search."""
CHECKSUM_OF_NO_PACK = "0" * 64


def tuned_study(study: Study, values: Values) -> Study:
    """Return the study with one architecture, optimizer and policy, and these settings: those of a trial.

    It has no ``tune`` section, and the section's seeds. The rates are set in the policy, so that other stages keep
    theirs. A retraining that is tuned starts from the study's first baseline policy.

    Raises:
        ValueError: the section names what the study doesn't have, or the values don't suit each other.
    """
    tuning = _tuning(study)
    stage = stage_of(study)
    optimizer = _chosen("optimizer", tuning.optimizer, [each.name for each in study.optimizers])
    raw: dict[str, Any] = study.model_dump(mode="json", exclude={"tune"})
    raw["architectures"] = [_chosen("architecture", tuning.architecture, list(study.architectures))]
    raw["optimizers"] = [each for each in raw["optimizers"] if each["name"] == optimizer]
    raw["rates"] = {name: rates for name, rates in raw["rates"].items() if name == optimizer}
    raw["seeds"] = list(tuning.seeds or study.seeds)
    policies = raw["stages"][stage]["policies"]
    name = _chosen(f"policy of stage {stage}", tuning.policy, [policy["name"] for policy in policies])
    (policy,) = [each for each in policies if each["name"] == name][:1]
    raw["stages"][stage]["policies"] = [policy]
    if stage == "retrain":  # all trials start from the same baselines
        raw["stages"]["baseline"]["policies"] = raw["stages"]["baseline"]["policies"][:1]
    for setting, value in _settings(values, policy, raw["rates"].get(optimizer, {})).items():
        if setting == "batch_size":
            raw["training"]["batch_size"] = int(value)
        elif setting == "weight_decay":
            raw["optimizers"][0]["weight_decay"] = value
        else:
            policy[setting] = value
    try:
        return Study.model_validate(raw)
    except ValidationError as error:
        raise ValueError(f"with {_shown(values)}: {explain(error)}") from None


def trial_runs(study: Study, values: Values, pack_checksum: str) -> tuple[RunSpec, ...]:
    """Return the runs of a trial, one for each seed.

    Raises:
        ValueError: as ``tuned_study`` does.
    """
    tuned = tuned_study(study, values)
    stage = stage_of(study)
    try:
        runs = [spec for spec in expand(tuned, pack_checksum) if spec.stage == stage]
    except ValidationError as error:
        raise ValueError(f"with {_shown(values)}: {explain(error)}") from None
    known = list(dict.fromkeys(spec.task.name for spec in runs))
    task = _chosen("task", _tuning(study).task, known)
    return tuple(spec for spec in runs if spec.task.name == task)


def stage_of(study: Study) -> str:
    """Return the stage whose runs are tuned.

    Raises:
        ValueError: the study doesn't have it.
    """
    there = [stage for stage in study.stages.trained if stage != PRETRAIN]  # which has no AUROC
    default = "baseline" if "baseline" in there else "scratch"
    return _chosen("stage", _tuning(study).stage or default, there)


def check_tuning(study: Study) -> None:
    """Try the corners of the space, so that no trial fails for what could be known before.

    Raises:
        ValueError: a setting isn't one of the policy, or values that can meet don't suit each other, or a rate of
            the study is ``auto``.
    """
    if auto_optimizers(study):
        raise ValueError(
            "a study with rates that are auto can't be tuned, since another batch size or weight decay would have "
            "other rates suggested; write the rates that 'clr-hpc range-test' prints into the study"
        )
    for _ in runs_at_corners(study):
        pass


def runs_at_corners(study: Study) -> Iterator[RunSpec]:
    """Yield the runs of one seed at the corners of the space.

    Raises:
        ValueError: as ``tuned_study`` does.
    """
    tuning = _tuning(study)
    one_seed = of_one_seed(study).model_copy(update={"tune": tuning.model_copy(update={"seeds": None})})
    for values in corners(tuning):
        yield from trial_runs(one_seed, values, CHECKSUM_OF_NO_PACK)


def _tuning(study: Study) -> Tuning:
    if study.tune is None:
        raise ValueError("the study has no tune: section; clr-hpc manual tuning has an example")
    return study.tune


def _chosen(what: str, wanted: str | None, there: list[str]) -> str:
    """Return what was named if it is there, and the first one where nothing was named."""
    if wanted is None and there:
        return there[0]
    if wanted not in there:
        raise ValueError(unknown(f"{what} in tune", str(wanted), there))
    return wanted


def _settings(values: Values, policy: dict[str, Any], rates: dict[str, float]) -> dict[str, float]:
    """Return the values with ``lr_min`` in place of its fraction of ``lr_max``."""
    settings = dict(values)
    fraction = settings.pop("lr_min_fraction", None)
    if fraction is not None:
        highest = settings.get("lr_max", policy.get("lr_max", rates.get("lr_max")))
        if not isinstance(highest, float | int):
            raise ValueError(
                f"lr_min_fraction is one of lr_max, which is {highest}; search it too, or give a number"
            )
        settings["lr_min"] = float(f"{fraction * highest:.4g}")
    return settings


def corners(tuning: Tuning) -> Iterator[Values]:
    """Yield the lowest values, the highest, and the pair of rates that lies closest: others lie between."""
    lowest, highest = {}, {}
    for name, values in tuning.space.named.items():
        if isinstance(values, Range):
            lowest[name], highest[name] = values.low, values.high
        elif isinstance(values, UpToWhatFits):
            lowest[name] = highest[name] = values.low
        else:
            lowest[name], highest[name] = values[0], values[-1]
    yield lowest
    yield highest
    if "lr_min" in lowest:
        yield lowest | {"lr_min": highest["lr_min"]}


def _shown(values: Values) -> str:
    return ", ".join(f"{name}={value:g}" for name, value in values.items())
