"""A study file: a grid over tasks, models, optimizers, policies and seeds, and what all its runs share."""

from itertools import product
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, PositiveFloat, TypeAdapter, ValidationError, field_validator, model_validator

from clr_hpc.spec.frozen import FrozenSpec, unknown
from clr_hpc.spec.optimizer import OPTIMIZER_NAMES, Optimizer
from clr_hpc.spec.pathologies import PATHOLOGIES, parse_pathology
from clr_hpc.spec.policy import POLICY_NAMES, Policy
from clr_hpc.spec.run import Architecture, RunSpec, Training


class StudyError(Exception):
    """A study file can't be used; the message names the file, each place in it, the rule and the remedy."""


class Rates(FrozenSpec):
    """The learning rates between which policies move with one optimizer."""

    lr_min: float = Field(ge=0)
    lr_max: PositiveFloat


class Study(FrozenSpec):
    """A grid of runs. Every list is crossed with every other."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    pack: str
    """Folder of the pack; a relative one is looked up from where the command runs."""
    pathologies: tuple[str, ...] = PATHOLOGIES
    """In YAML also ``all``."""
    architectures: tuple[Architecture, ...] = ("mobilenet_v1",)
    optimizers: tuple[Optimizer, ...]
    rates: dict[str, Rates]
    """By the optimizer's name, since what suits one is far off for another. A policy's own rates win."""
    policies: tuple[dict[str, Any], ...]
    """``{name: ..., ...}``; rates and total_epochs may be left to the study."""
    seeds: tuple[int, ...] = (0,)
    training: Training

    @field_validator("pathologies", mode="before")
    @classmethod
    def _know_the_pathologies(cls, value: Any) -> Any:
        if value == "all":
            return PATHOLOGIES
        if not isinstance(value, list | tuple):
            raise ValueError(f"pathologies={value!r} must be a list of names, or all")
        names = [parse_pathology(str(name)) for name in value]
        for given, name in zip(value, names, strict=True):
            if name is None:
                raise ValueError(unknown("pathology", str(given), list(PATHOLOGIES)))
        return tuple(names)

    @field_validator("optimizers", "policies", mode="before")
    @classmethod
    def _a_bare_name_takes_all_defaults(cls, value: Any, info: Any) -> Any:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{info.field_name}={value!r} must be a list")
        known = OPTIMIZER_NAMES if info.field_name == "optimizers" else POLICY_NAMES
        entries = [{"name": entry} if isinstance(entry, str) else entry for entry in value]
        for entry in entries:
            name = entry.get("name") if isinstance(entry, dict) else getattr(entry, "name", None)
            if name not in known:
                raise ValueError(unknown(f"name in {info.field_name}", str(name), list(known)))
        return tuple(entries)

    @field_validator("rates")
    @classmethod
    def _rates_are_of_optimizers(cls, value: dict[str, Rates]) -> dict[str, Rates]:
        for name in value:
            if name not in OPTIMIZER_NAMES:
                raise ValueError(unknown("optimizer in rates", name, list(OPTIMIZER_NAMES)))
        return value

    @model_validator(mode="after")
    def _nothing_is_empty_or_twice(self) -> "Study":
        for field in ("pathologies", "architectures", "optimizers", "policies", "seeds"):
            entries = [repr(entry) for entry in getattr(self, field)]
            if not entries:
                raise ValueError(f"{field} is empty; name at least one")
            twice = sorted({entry for entry in entries if entries.count(entry) > 1})
            if twice:
                raise ValueError(f"{field} has {', '.join(twice)} twice; drop one")
        return self

    @model_validator(mode="after")
    def _every_policy_fits_every_optimizer(self) -> "Study":
        self.runs(pack_checksum="0" * 64)
        return self

    def runs(self, pack_checksum: str) -> tuple[RunSpec, ...]:
        """Expand into runs on the pack with this checksum; runs that are compared stand together."""
        grid = product(self.pathologies, self.architectures, self.optimizers, self.seeds, self.policies)
        return tuple(
            RunSpec(
                pack_checksum=pack_checksum,
                pathology=pathology,
                architecture=architecture,
                optimizer=optimizer,
                policy=self._policy(policy, optimizer.name),
                seed=seed,
                training=self.training,
            )
            for pathology, architecture, optimizer, seed, policy in grid
        )

    def _policy(self, given: dict[str, Any], optimizer: str) -> Policy:
        """Complete a study's policy with the optimizer's rates and the length of training."""
        shared: dict[str, Any] = {"total_epochs": self.training.epochs}
        if optimizer in self.rates:
            shared |= self.rates[optimizer].model_dump()
        elif "lr_max" not in given:
            raise ValueError(
                f"no rate for {optimizer} with policy {given['name']}; add rates: {{{optimizer}: ...}}"
            )
        wanted = _POLICY_FIELDS[given["name"]]
        return _POLICY.validate_python({k: v for k, v in shared.items() if k in wanted} | given)


_POLICY: TypeAdapter[Policy] = TypeAdapter(Policy)
_POLICY_FIELDS: dict[str, set[str]] = {
    model.model_fields["name"].default: set(model.model_fields)
    for model in Policy.__origin__.__args__  # type: ignore[attr-defined]
}


def load_study(path: Path, overrides: tuple[str, ...] = ()) -> Study:
    """Read a study file.

    Args:
        path: the YAML file.
        overrides: ``key=value`` with a dotted key (``training.epochs=2``); a field of ``training`` also goes
            by its own name (``epochs=2``). The value is YAML.

    Raises:
        StudyError: the file or an override can't be used.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file; jobs/ has examples") from None
    except yaml.YAMLError as error:
        raise StudyError(f"{path}: not YAML: {error}") from None
    if not isinstance(values, dict):
        raise StudyError(f"{path}: a study is a mapping of keys such as name, pack, policies; jobs/ has examples")
    for override in overrides:
        _override(values, override)
    try:
        return Study.model_validate(values)
    except ValidationError as error:
        raise StudyError(f"{path}: " + _explain(error)) from None


def _override(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals:
        raise StudyError(f"--set {override}: must be key=value, such as --set epochs=2")
    path = key.strip().split(".")
    if len(path) == 1 and path[0] in Training.model_fields:
        path.insert(0, "training")
    if path[0] not in Study.model_fields:
        known = [*Study.model_fields, *Training.model_fields]
        raise StudyError(f"--set {override}: " + unknown("key", path[0], known))
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise StudyError(f"--set {override}: the value is not YAML: {error}") from None
    for name in path[:-1]:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise StudyError(
                f"--set {override}: {name} is not a mapping, so it has no {path[-1]}; set {name} whole"
            )
    values[path[-1]] = value


def _explain(error: ValidationError) -> str:
    """One line a mistake: where it is and what is wrong, without pydantic's type codes and links."""
    lines = []
    for mistake in error.errors(include_url=False, include_context=False):
        place = ".".join(str(part) for part in mistake["loc"])
        given = mistake["input"]
        value = "" if isinstance(given, dict) or mistake["type"] == "value_error" else f" (it is {given!r})"
        lines.append(f"{place + ': ' if place else ''}{mistake['msg'].removeprefix('Value error, ')}{value}")
    return "; ".join(lines)
