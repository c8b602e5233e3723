"""Read a study file, apply overrides, and say of every mistake where it is and what to do."""

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from clr_hpc.config.base import UserError, explain, shortened
from clr_hpc.config.expand import runs_of_one_seed
from clr_hpc.config.given_file import FileError
from clr_hpc.config.overrides import OverrideError, Purpose, check_overrides, with_overrides
from clr_hpc.config.study import Study
from clr_hpc.config.tuned_study import CHECKSUM_OF_NO_PACK, check_tuning
from clr_hpc.config.yaml_file import read_yaml

MOST_RUNS = 100_000
"""Of one study; status and report read a folder for each."""
SHIPPED = Path(__file__).parents[1] / "studies"
"""Folder of the studies that come with this package: a link to ``jobs/`` in a checkout; a wheel has copies."""
EXAMPLES = "clr-hpc studies lists examples"
"""The remedy of errors about studies."""


class StudyError(UserError):
    """A study file can't be used; the message names the file, each place in it, the rule and the remedy."""


def shipped_studies() -> dict[str, Path]:
    """Return the file of each study that comes with this package, by its name."""
    return {file.stem: file for file in sorted(SHIPPED.glob("*.yaml"))}


def find_study(given: Path) -> Path:
    """Return the file of the study that a path or a name stands for; what is there under that path wins."""
    if given.parts != (given.stem,) or given.exists():
        return given
    return shipped_studies().get(str(given), given)


def load_study(path: Path, overrides: tuple[str, ...] = (), purpose: Purpose = "run") -> Study:
    """Read a study file.

    Args:
        path: the YAML file, or the name of a study that comes with this package.
        overrides: ``key=value`` with a dotted key (``training.epochs=2``); a field of ``training`` also goes
            by its own name (``epochs=2``). The value is YAML.
        purpose: the command that reads the study, which says what an override has to change.

    Raises:
        StudyError: the file or an override can't be used, or an override changes nothing.
    """
    values = _parse(path)
    if not isinstance(values, dict):
        raise StudyError(f"{path}: a study is a mapping of keys such as name, pack, policies; {EXAMPLES}")
    try:
        study = checked_study(with_overrides(values, overrides))
        check_overrides(values, overrides, checked_study, purpose)
        return study
    except OverrideError as error:
        raise StudyError(str(error)) from None
    except ValidationError as error:
        raise StudyError(f"{path}: " + explain(error)) from None
    except ValueError as error:
        raise StudyError(f"{path}: {shortened(str(error))}") from None
    except (TypeError, ArithmeticError, LookupError, AttributeError, RecursionError) as error:
        raise StudyError(f"{path}: a value is of no use ({shortened(repr(error))}); {EXAMPLES}") from error


def _parse(path: Path) -> Any:
    try:
        return read_yaml(find_study(path))
    except FileError as error:
        if error.is_absent:
            raise StudyError(f"{path}: no such study file; {_instead_of(path)}") from None
        raise StudyError(f"{path}: {_kind_of(path) if error.is_folder else error}") from None
    except UserError as error:
        raise StudyError(f"{path}: {error}") from None


def _kind_of(folder: Path) -> str:
    """Return what a folder is that was given for a study file, and what to give."""
    if (folder / "study.yaml").exists():
        return f"it is a study's folder; name its file, {folder / 'study.yaml'}"
    kind = "a pack" if (folder / "manifest.json").exists() else "a folder"
    return f"it is {kind}, not a file; name a study file, {EXAMPLES}"


def _instead_of(absent: Path) -> str:
    if absent.stem in shipped_studies():
        return f"the one that comes with clr-hpc is just {absent.stem}"
    return EXAMPLES


def checked_study(values: dict[str, Any]) -> Study:
    """Return the study of these values, of which every run and every trial can be made.

    Raises:
        ValueError: a key, a value, or a combination of values is not possible.
    """
    study = Study.model_validate(values)
    # each policy with each optimizer, also where a rate is still to be measured
    of_one_seed = runs_of_one_seed(study, CHECKSUM_OF_NO_PACK)
    if (runs := len(of_one_seed) * len(study.seeds)) > MOST_RUNS:
        raise ValueError(
            f"{runs:,} runs, of {len(study.seeds):,} seeds; a study has at most {MOST_RUNS:,}, so split it"
        )
    if study.tune is not None:
        check_tuning(study)
    return study
