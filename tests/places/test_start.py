"""Training from Python, as the command ``clr-hpc run`` does it."""

import logging
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from trial_study import TrialStudy

import clr_hpc
from clr_hpc.config.base import UserError
from clr_hpc.places import prepare


@pytest.mark.commands
def test_a_study_is_trained_reported_and_used_from_python(
    write_study: Callable[..., TrialStudy], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = clr_hpc.load_study(write_study().file).model_copy(update={"name": "copied"})
    assert isinstance(study, clr_hpc.Study)
    with caplog.at_level(logging.INFO, "clr_hpc"):
        folder = clr_hpc.run(study, results=str(tmp_path / "results"), processes=1, with_plan=False)
    assert folder == tmp_path / "results" / "copied"
    assert "copied: 2 runs, 0 done before" in caplog.text
    assert caplog.text.count("done: cardiomegaly.mobilenet_v1.sgd.scratch") == 2
    assert len(clr_hpc.load(str(folder)).models) == 2
    assert len(clr_hpc.load(folder).predict(clr_hpc.Pack.open(study.pack), split="test")) > 0
    assert "Cardiomegaly" in clr_hpc.report(folder).read_text()
    assert clr_hpc.run(study, results=tmp_path / "results") == folder, "nothing is left to train"


@pytest.mark.commands
def test_a_script_that_starts_itself_again_is_told_how_to_begin(
    write_study: Callable[..., TrialStudy], tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(f"import clr_hpc\nclr_hpc.run({str(write_study().file)!r}, processes=1, with_plan=False)\n")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert 'put the call below the line: if __name__ == "__main__":' in done.stderr


def test_runs_that_fail_are_counted_with_the_reason_of_the_first(
    write_study: Callable[..., TrialStudy], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "_try_weights_and_features", lambda _: None)
    (tmp_path / "weights.pth").write_bytes(b"not a state dict")
    training = {
        "epochs": 1,
        "image_size": 32,
        "initialisation": {"weights": "imagenet", "file": str(tmp_path / "weights.pth")},
    }
    study = write_study(training=training)
    with pytest.raises(
        clr_hpc.FailedRunsError, match=r"2 of 2 runs failed; cardiomegaly.*: .*not a readable state"
    ):
        clr_hpc.run(study.file, results=tmp_path / "results", processes=1, with_plan=False)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"procesess": 1}, "unknown option of clr_hpc.run: 'procesess'; did you mean 'processes'?"),
        ({"lanes": 2}, "lanes=2: the place here does not take it"),
        ({"replace": True}, "unknown option of clr_hpc.run: 'replace'"),
        ({"on": "nowhere"}, "unknown place"),
    ],
)
def test_an_option_that_is_not_taken_is_named(
    options: dict[str, object], told: str, write_study: Callable[..., TrialStudy]
) -> None:
    with pytest.raises(UserError, match=told.replace("?", r"\?")):
        clr_hpc.run(write_study().file, **options)
