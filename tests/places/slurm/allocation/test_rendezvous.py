"""Where the tasks of an allocation meet."""

from pathlib import Path

import pytest

from clr_hpc.places.slurm.allocation.rendezvous import Head, Rendezvous
from clr_hpc.places.slurm.ledger import Ledger

HEAD = Head("10.0.0.1:10000", "node01", 10001, 30.0)


@pytest.fixture
def rendezvous(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rendezvous:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    return Rendezvous.of_this_job(Ledger(tmp_path / "trial"))


def test_the_others_wait_for_the_head_of_this_start(rendezvous: Rendezvous) -> None:
    assert rendezvous.folder.name == "12.1"
    assert rendezvous.wait(lambda: True) is None, "gave up"
    rendezvous.open()
    assert rendezvous.read() is None
    rendezvous.announce(HEAD)
    assert rendezvous.wait(lambda: False) == HEAD


def test_its_token_is_for_its_owner_and_ends_with_it(rendezvous: Rendezvous) -> None:
    rendezvous.open()
    token = rendezvous.token.read_text()
    assert len(bytes.fromhex(token)) == 32
    assert rendezvous.token.stat().st_mode & 0o777 == 0o600
    assert rendezvous.folder.stat().st_mode & 0o777 == 0o700
    rendezvous.lanes.mkdir()
    rendezvous.announce(HEAD)
    rendezvous.close()
    assert [path.name for path in rendezvous.folder.iterdir()] == ["cluster.json"]
    assert rendezvous.wait(lambda: False) is None, "who comes late does not wait"


def test_a_start_that_never_had_a_head_is_closed_as_well(rendezvous: Rendezvous) -> None:
    rendezvous.close()
    assert rendezvous.wait(lambda: False) is None
