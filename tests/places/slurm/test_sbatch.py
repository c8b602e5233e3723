"""What ``sbatch.py`` uses of submitit's insides, which a release of submitit may change without a word."""

import inspect
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

submitit = pytest.importorskip("submitit", reason="it is the extra slurm")
REMEDY = "submitit {} has changed: see clr_hpc/places/slurm/sbatch.py, then the range in pyproject.toml"


def test_the_insides_of_submitit_are_those_that_are_used(tmp_path: Path) -> None:
    remedy = REMEDY.format(submitit.__version__)
    executor = submitit.SlurmExecutor
    text = inspect.signature(executor._make_submission_file_text)
    assert list(text.parameters) == ["self", "command", "uid"], remedy
    assert isinstance(inspect.getattr_static(executor, "_submitit_command_str"), property), remedy
    assert "map_count" in inspect.signature(submitit.slurm.slurm._make_sbatch_string).parameters, remedy
    path = submitit.core.utils.JobPaths(tmp_path, "17_2").submitted_pickle
    assert path == tmp_path / "17_2_submitted.pkl", remedy
    submitit.core.utils.DelayedSubmission(sum, [1, 2]).dump(path)
    assert submitit.core.utils.DelayedSubmission.load(path).result() == 3, remedy


def test_what_is_installed_is_in_the_range_that_is_stated(repository: Path) -> None:
    extras = tomllib.loads((repository / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (wanted,) = (Requirement(line) for line in extras["slurm"])
    assert {each.operator for each in wanted.specifier} == {">=", "<"}, "private parts need an upper bound"
    assert submitit.__version__ in wanted.specifier
