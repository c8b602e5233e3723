"""How an element begins on its node, and when it refuses to."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from clr_hpc.places.slurm.ledger import Ledger
from clr_hpc.places.slurm.place import begun_with_other_code
from clr_hpc.places.slurm.records import ElementRecord, Submission, abandoned, new_token
from clr_hpc.store.provenance import source_sha256
from clr_hpc.training.run import RunSettings

StudyMaker = Callable[..., Any]
START = """
import sys
from clr_hpc.places.slurm.array import ArrayElement
print(ArrayElement(sys.argv[1], sys.argv[2], 0)())
"""


@dataclass
class Submitted:
    study: Any
    ledger: Ledger
    submission: Submission

    def start(self) -> subprocess.CompletedProcess[str]:
        """Start the element as submitit does, outside SLURM."""
        words = [sys.executable, "-c", START, str(self.ledger.study_folder), self.submission.token]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)

    @property
    def record(self) -> ElementRecord:
        return self.ledger.record(self.submission.token, 0)


@pytest.fixture
def submitted(invent_study: StudyMaker) -> Callable[..., Submitted]:
    def make(**changes: Any) -> Submitted:
        study = invent_study()
        ledger = Ledger(study.folder.path.absolute())
        ledger.prepare()
        token, name = new_token("invented")
        submission = Submission(
            *(token, name, "2026-01-01T00:00:00+00:00", "submitted", ((study.runs[0].name,),), {}, None),
            *(source_sha256(), "1" * 64, str(study.file.parent / "pack"), RunSettings(60.0), False, 1, 1, 0),
        )
        submission = replace(submission, **changes)
        ledger.write(submission)
        return Submitted(study, ledger, submission)

    return make


def test_other_code_is_refused(submitted: Callable[..., Submitted]) -> None:
    element = submitted(source_sha256="f" * 64)
    done = element.start()
    assert done.returncode != 0
    assert element.record.failed
    assert element.record.ended is not None
    assert "the code has changed since it was submitted (ffffffffffff then" in element.record.ended


def test_other_code_is_taken_where_it_was_accepted_and_another_pack_never_is(
    submitted: Callable[..., Submitted],
) -> None:
    element = submitted(source_sha256="f" * 64, accept_changes=True)
    done = element.start()
    assert "accepted by --accept-changes" in done.stdout
    assert done.returncode != 0, "the invented pack is none"
    assert element.record.ended is not None
    assert "has format version None" in element.record.ended


def test_an_abandoned_submission_does_nothing(submitted: Callable[..., Submitted]) -> None:
    element = submitted()
    element.ledger.write(abandoned(element.submission))
    done = element.start()
    assert done.returncode == 0, done.stderr
    assert "nothing to do" in done.stdout
    assert element.record == ElementRecord()


def test_start_after_start_without_progress_it_ends_with_that_reason(
    submitted: Callable[..., Submitted],
) -> None:
    element = submitted()
    for _ in range(3):
        element.start()
        assert "got no further" not in (element.record.ended or "")
    element.study.finish(element.study.runs[0])
    element.start()
    assert element.record.starts_without_progress == 0
    for _ in range(3):
        element.start()
    assert element.record.ended is not None
    assert "got no further than 1 runs and 0 samples" in element.record.ended
    assert element.record.failed


def test_runs_that_other_code_has_begun_are_named(invent_study: StudyMaker) -> None:
    study = invent_study()
    ours, theirs, without_checkpoint, *_ = study.runs
    for spec, code, saved_at in ((ours, "a", 1), (theirs, "b", 1), (without_checkpoint, "b", None)):
        study.stop(spec, 1, saved_at=saved_at)
        (study.path(spec) / "environment.json").write_text(json.dumps([{"source_sha256": code}]))
    assert begun_with_other_code(study.folder, study.runs, "a") == [theirs]
