"""``--set key=value``: put into the values of a study file, and rejected where it changes nothing."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

from clr_hpc.config.base import UserError, unknown
from clr_hpc.config.expand import auto_optimizers, expand, range_test_study, runs_of_one_seed
from clr_hpc.config.run import Training
from clr_hpc.config.study import Study
from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK, corners, trial_runs
from clr_hpc.config.yaml_file import YamlError, parse_yaml

Purpose = Literal["run", "range-test", "tune"]
"""The command that reads a study: what it trains is what an override has to change."""
EXAMPLE = "batch_size=8"
"""It changes every study that is shipped."""


class OverrideError(UserError):
    """An override can't be used; the message gives it, the rule and the remedy."""


def with_overrides(values: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """Return a copy of a study file's values with overrides, later ones over earlier ones.

    Raises:
        OverrideError: one is not ``key=value``, or its key can't be.
    """
    copied: dict[str, Any] = _copied(values)
    for override in overrides:
        path, value = _parsed(override)
        inside = copied
        for name in path[:-1]:
            inside = inside.setdefault(name, {})
            if not isinstance(inside, dict):
                raise OverrideError(
                    f"--set {override}: {name} is not a mapping, so it has no {path[-1]}; set {name} whole"
                )
        inside[path[-1]] = value
    return copied


def check_overrides(
    values: dict[str, Any], overrides: Sequence[str], study_of: Callable[[dict[str, Any]], Study], purpose: Purpose
) -> None:
    """Look for overrides without which the same would be trained.

    One that repeats what the study says anyway is accepted, if no other key stands before it.

    Args:
        values: of the file.
        overrides: all of them.
        study_of: makes a study of values; raises ValueError where they are none.
        purpose: says what is trained.

    Raises:
        OverrideError: there is one; the message names the keys that would act.
    """
    if not overrides:
        return
    study = study_of(with_overrides(values, overrides))
    trained = _trained(study, purpose)
    for position, override in enumerate(overrides):
        try:
            without = study_of(with_overrides(values, [*overrides[:position], *overrides[position + 1 :]]))
        except (ValueError, OverrideError):
            continue  # without it there would be no study
        before = _what_stands_before(_parsed(override)[0], study, purpose)
        if _trained(without, purpose) == trained and (before or without != study):
            reason = before or "nothing that is trained depends on it in this study"
            raise OverrideError(f"--set {override} changes nothing: {reason}")


def _parsed(override: str) -> tuple[list[str], Any]:
    key, equals, text = override.partition("=")
    if not equals:
        raise OverrideError(f"--set {override}: must be key=value, such as --set {EXAMPLE}")
    path = key.strip().split(".")
    if len(path) == 1 and path[0] in Training.model_fields:
        path.insert(0, "training")
    if path[0] not in Study.model_fields:
        known = [*Study.model_fields, *Training.model_fields]
        raise OverrideError(f"--set {override}: " + unknown("key", path[0], known))
    try:
        return path, parse_yaml(text)
    except YamlError as error:
        raise OverrideError(f"--set {override}: the value is {error}") from None


def _copied(value: Any) -> Any:
    """Copy lists and mappings; those that aliases share become separate ones."""
    if isinstance(value, dict):
        return {key: _copied(inside) for key, inside in value.items()}
    return [_copied(inside) for inside in value] if isinstance(value, list) else value


def _trained(study: Study, purpose: Purpose) -> tuple[Any, ...]:
    """Return what a command trains for a study, but for the seeds, on which nothing else depends."""
    if purpose == "range-test":
        return study.name, study.pack, expand(range_test_study(study), CHECKSUM_OF_NO_PACK)
    if purpose == "tune" and study.tune is not None:
        trials = [trial_runs(study, corner, CHECKSUM_OF_NO_PACK) for corner in corners(study.tune)]
        return study.name, study.pack, study.tune, trials
    auto = auto_optimizers(study)
    tests = expand(range_test_study(study, auto), CHECKSUM_OF_NO_PACK) if auto else ()
    own = runs_of_one_seed(study, CHECKSUM_OF_NO_PACK)
    return study.name, study.pack, study.seeds, study.keep, study.notify, study.track, own, tests


def _what_stands_before(path: Sequence[str], study: Study, purpose: Purpose) -> str | None:
    """Return what keeps a key from acting, with the keys that act; None where nothing is known to."""
    section, *rest = path
    stages = study.stages.trained
    if purpose == "tune" and study.tune is not None and section != "tune" and path[-1] in study.tune.space.named:
        return f"the search tries values of {path[-1]}; set tune.space.{path[-1]}"
    if path == ["training", "epochs"] and purpose == "range-test":
        return "LR range tests have their own; set range_test.epochs"
    if path == ["training", "epochs"] and all(stage.epochs for stage in stages.values()):
        return f"each stage has its own epochs; set {_joined([f'stages.{name}.epochs' for name in stages])}"
    if section == "rates" and rest and rest[0] not in (known := [each.name for each in study.optimizers]):
        return f"the study has no optimizer {rest[0]}, but {_joined(known)}; set optimizers"
    if section == "rates" and purpose != "range-test":
        own = [name for name, stage in stages.items() if any("lr_max" in each for each in stage.policies)]
        acting = _joined([f"stages.{name}.policies" for name in own])
        return f"policies have their own; set {acting}" if own else None
    if section == "range_test" and purpose == "run" and not auto_optimizers(study):
        return "no rate is auto, so no LR range test is made; set rates, or take clr-hpc range-test"
    if section == "tune" and purpose != "tune":
        return "only clr-hpc tune reads it"
    return None


def _joined(names: Sequence[str]) -> str:
    return " and ".join(names)
