"""Where the tasks of an allocation meet."""

from pathlib import Path

import pytest

from clr_hpc.places.slurm.allocation.rendezvous import Head, Meeting
from clr_hpc.places.slurm.ledger import Ledger

HEAD = Head("10.0.0.1:10000", "node01", 10001, 30.0)


@pytest.fixture
def meeting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Meeting:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    return Meeting.of_this_job(Ledger(tmp_path / "trial"))


def test_the_others_wait_for_the_head_of_this_start(meeting: Meeting) -> None:
    assert meeting.folder.name == "12.1"
    assert meeting.wait(lambda: True) is None, "gave up"
    meeting.open()
    assert meeting.read() is None
    meeting.announce(HEAD)
    assert meeting.wait(lambda: False) == HEAD


def test_its_token_is_for_its_owner_and_ends_with_it(meeting: Meeting) -> None:
    meeting.open()
    token = meeting.token.read_text()
    assert len(bytes.fromhex(token)) == 32
    assert meeting.token.stat().st_mode & 0o777 == 0o600
    assert meeting.folder.stat().st_mode & 0o777 == 0o700
    meeting.lanes.mkdir()
    meeting.announce(HEAD)
    meeting.close()
    assert [path.name for path in meeting.folder.iterdir()] == ["cluster.json"]
    assert meeting.wait(lambda: False) is None, "who comes late does not wait"


def test_a_start_that_never_had_a_head_is_closed_as_well(meeting: Meeting) -> None:
    meeting.close()
    assert meeting.wait(lambda: False) is None
