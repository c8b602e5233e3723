"""The ledger: what was submitted, and what an element says of itself."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from mutation import damage_of

from clr_hpc.config.base import UserError
from clr_hpc.places.slurm.allocation.rendezvous import Head, Rendezvous
from clr_hpc.places.slurm.jobs import read_slurm_status
from clr_hpc.places.slurm.ledger import (
    JobRecord,
    Ledger,
    LedgerError,
    Start,
    Submission,
    abandoned,
    new_token,
    with_job,
)
from clr_hpc.training.run import RunSettings


def submission(*elements: tuple[str, ...], study: str = "trial") -> Submission:
    token, name = new_token(study)
    return Submission(
        token,
        name,
        made="2026-01-01T00:00:00+00:00",
        state="intended",
        elements=elements,
        failed_before={},
        commit=None,
        source_sha256="0" * 64,
        pack_checksum="1" * 64,
        pack_folder="/packs/none",
        settings=RunSettings(60),
        accept_changes=False,
        processes=1,
        threads=1,
        baseline_wait_seconds=600,
    )


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    made = Ledger(tmp_path / "trial")
    made.prepare()
    return made


def test_a_submission_is_read_as_it_was_written(ledger: Ledger) -> None:
    intent = submission(("a", "b"), ("c",))
    ledger.write(intent)
    assert ledger.submissions() == [intent]
    ledger.write(with_job(intent, 7))
    (read,) = ledger.submissions()
    assert [read.job_id(index) for index in range(2)] == ["7_0", "7_1"]
    assert with_job(submission(("a",)), 8).job_id(0) == "8", "a job with one element is no array"
    ledger.write(abandoned(intent))
    assert ledger.read(intent.token).state == "abandoned"


def test_how_runs_are_trained_stands_among_the_rest_as_it_always_did(ledger: Ledger) -> None:
    intent = submission(("a",))
    ledger.write(intent)
    path = ledger.folder / "submissions" / f"{intent.token}.json"
    values = json.loads(path.read_text())
    assert values["checkpoint_seconds"] == 60
    del values["profile"]  # as written before that option was kept
    path.write_text(json.dumps(values))
    assert ledger.read(intent.token) == intent


def test_a_submission_from_before_there_were_shapes_is_an_array(ledger: Ledger) -> None:
    intent = submission(("a", "b"))
    ledger.write(intent)
    path = ledger.folder / "submissions" / f"{intent.token}.json"
    values = json.loads(path.read_text())
    for new in ("shape", "nodes", "lanes", "workers_per_lane", "rates"):
        del values[new]
    path.write_text(json.dumps(values))
    assert ledger.read(intent.token) == intent
    assert intent.shape == "array"


def test_the_job_of_a_study_with_any_name_has_a_name_that_slurm_takes() -> None:
    _, name = new_token("größe, mit Leerzeichen|und mehr, " * 5)
    assert name.isascii()
    assert not set(name) & set(" ,|%")
    assert len(name) < 64


def test_a_damaged_submission_says_what_to_do(ledger: Ledger) -> None:
    (ledger.folder / "submissions" / "0badc0de.json").write_text("{")
    with pytest.raises(LedgerError, match="remove the file and submit again"):
        ledger.submissions()


def test_two_commands_do_not_submit_at_once(ledger: Ledger) -> None:
    with ledger.locked(), pytest.raises(LedgerError, match="try again"), ledger.locked():
        pass
    with ledger.locked():
        pass


def start(done: int, samples: int) -> Start:
    return Start("2026-01-01T00:00:00+00:00", "node1", "7_0", 0, done, samples)


@pytest.mark.parametrize(
    ("found", "fruitless"),
    [
        ([], 0),
        ([(0, 0)], 0),
        ([(0, 0), (0, 0), (0, 0)], 2),
        ([(0, 0), (0, 0), (0, 64), (0, 64)], 1),
        ([(0, 64), (1, 0)], 0),
        ([(1, 5), (1, 6), (1, 7), (1, 8)], 0),
    ],
)
def test_starts_count_from_the_last_progress(found: list[tuple[int, int]], fruitless: int, ledger: Ledger) -> None:
    record = JobRecord(tuple(start(*values) for values in found), ("a",))
    assert record.starts_without_progress == fruitless
    ledger.write_record("0badc0de", 3, record)
    assert ledger.record("0badc0de", 3) == record


def test_cancelling_is_taken_back_and_faults_are_forgotten(ledger: Ledger) -> None:
    ledger.cancel(["a.b.1", "c"])
    ledger.add_fault("a.b.1", "node1.cluster", "CUDA error")
    assert ledger.cancelled() == {"a.b.1", "c"}
    assert ledger.nodes_at_fault("a.b.1") == {"node1.cluster"}
    ledger.allow(["a.b.1"])
    assert ledger.cancelled() == {"c"}
    assert ledger.nodes_at_fault("a.b.1") == set()


def test_an_excluded_node_is_named_with_its_reason(ledger: Ledger) -> None:
    ledger.exclude("node1", "2 runs failed")
    assert ledger.excluded() == {"node1": "2 runs failed"}


@pytest.mark.parametrize("name", ["submissions/{}.json", "elements/{}.0.json", "excluded/node7", "queue.json"])
def test_a_damaged_file_is_an_error_that_names_it(
    name: str, ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no SLURM
    sent = with_job(submission(("a", "b"), ("c",)), 7)
    ledger.write(sent)
    ledger.write_record(sent.token, 0, JobRecord((Start("2026-01-01", "node7", "7_0", 0, 1, 64),), ("a",)))
    ledger.exclude("node7", "its disk is full")
    read_slurm_status(ledger)
    file = ledger.folder / name.format(sent.token)
    sound = file.read_bytes()
    assert len(read_slurm_status(ledger).jobs) == 2

    @settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
    @given(damage_of(file.suffix or ".json")(sound))
    def check(content: bytes) -> None:
        file.write_bytes(content)
        error = None
        try:
            read_slurm_status(ledger)
        except LedgerError as raised:
            error = raised
        assert error is None or (str(file) in str(error) and file.name != "queue.json")

    check()


def test_a_damaged_rendezvous_is_an_error_that_names_it(tmp_path: Path) -> None:
    rendezvous = Rendezvous(tmp_path)
    assert rendezvous.read() is None
    rendezvous.announce(Head("here:1", "here", 1, 30.0))
    assert rendezvous.read() == Head("here:1", "here", 1, 30.0)
    for content in (b"", b"{}", b"[1]", b"\xff", b'{"address": 1}'):
        (tmp_path / "cluster.json").write_bytes(content)
        with pytest.raises(UserError, match=r"cluster\.json"):
            rendezvous.read()
