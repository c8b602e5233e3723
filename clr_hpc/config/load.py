"""Read a study file, apply overrides, and say of every mistake where it is and what to do."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clr_hpc.config.base import UserError, explain, shortened, unknown
from clr_hpc.config.expand import expand, placeholders
from clr_hpc.config.run import Training
from clr_hpc.config.study import Study
from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK, check_tuning
from clr_hpc.config.yaml_file import YamlError, parse_yaml, read_yaml

MOST_RUNS = 100_000
"""Of one study; status and report read a folder for each."""


class StudyError(UserError):
    """A study file can't be used; the message names the file, each place in it, the rule and the remedy."""


def load_study(path: Path, overrides: tuple[str, ...] = ()) -> Study:
    """Read a study file.

    Args:
        path: the YAML file.
        overrides: ``key=value`` with a dotted key (``training.epochs=2``); a field of ``training`` also goes
            by its own name (``epochs=2``). The value is YAML.

    Raises:
        StudyError: the file or an override can't be used.
    """
    values = _parse(path)
    if not isinstance(values, dict):
        raise StudyError(f"{path}: a study is a mapping of keys such as name, pack, policies; jobs/ has examples")
    for override in overrides:
        _override(values, override)
    try:
        return checked_study(values)
    except ValidationError as error:
        raise StudyError(f"{path}: " + explain(error)) from None
    except ValueError as error:
        raise StudyError(f"{path}: {shortened(str(error))}") from None
    except (TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise StudyError(f"{path}: a value is of no use ({shortened(repr(error))}); jobs/ has examples") from error


def _parse(path: Path) -> Any:
    try:
        return read_yaml(path)
    except FileNotFoundError:
        raise StudyError(f"{path}: no such study file; jobs/ has examples") from None
    except OSError as error:
        raise StudyError(f"{path}: it can't be read: {error.strerror}; jobs/ has examples") from None
    except (UserError, ValueError) as error:  # ValueError: the name holds a NUL
        raise StudyError(f"{path}: {error}") from None


def checked_study(values: dict[str, Any]) -> Study:
    """Return the study of these values, of which every run and every trial can be made.

    Raises:
        ValueError: a key, a value, or a combination of values is not possible.
    """
    study = Study.model_validate(values)
    # each policy with each optimizer, also where a rate is still to be measured
    measured = (*study.measured, *placeholders(study))
    of_one_seed = expand(
        study.model_copy(update={"measured": measured, "seeds": study.seeds[:1]}), CHECKSUM_OF_NO_PACK
    )
    if (runs := len(of_one_seed) * len(study.seeds)) > MOST_RUNS:
        raise ValueError(
            f"{runs:,} runs, of {len(study.seeds):,} seeds; a study has at most {MOST_RUNS:,}, so split it"
        )
    if study.tune is not None:
        check_tuning(study)
    return study


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
        value = parse_yaml(text)
    except YamlError as error:
        raise StudyError(f"--set {override}: the value is {error}") from None
    for name in path[:-1]:
        values = values.setdefault(name, {})
        if not isinstance(values, dict):
            raise StudyError(
                f"--set {override}: {name} is not a mapping, so it has no {path[-1]}; set {name} whole"
            )
    values[path[-1]] = value
