"""A group's small messages, between threads of one process where that is enough."""

import mmap
from collections.abc import Callable

import pytest
import torch
from torch.distributed import HashStore

from clr_hpc.training.distributed import Cause, ProcessGroup, RankFailedError, is_lost_connection

CPU = torch.device("cpu")


@pytest.mark.parametrize(("count", "size"), [(10, 3), (2, 3), (0, 2), (7, 7), (100, 8)])
def test_shares_are_disjoint_complete_and_even_to_one(count: int, size: int) -> None:
    shares = [ProcessGroup(rank, size, CPU, HashStore()).share(count) for rank in range(size)]
    assert [index for share in shares for index in range(count)[share]] == list(range(count))
    lengths = [share.stop - share.start for share in shares]
    assert max(lengths) - min(lengths) <= 1


def test_a_single_process_needs_no_torch_process_group() -> None:
    group = ProcessGroup.alone(CPU)
    with group.joined(0):
        assert not torch.distributed.is_initialized()
        assert group.any(True, False) == (True, False)
        assert group.all_gather(1.0) == [1.0]
        assert group.broadcast_from_rank0(lambda: "value") == "value"
        group.assert_same_on_all_ranks("anything", object())


def test_a_failure_says_its_kind_and_keeps_its_traceback() -> None:
    for error, kind in ((FloatingPointError("a"), "diverged"), (torch.OutOfMemoryError("b"), "out of memory")):
        with pytest.raises(RankFailedError) as raised, ProcessGroup.alone(CPU).joined(0):
            raise error
        assert raised.value.cause.kind == kind
        assert "test_distributed.py" in raised.value.cause.traceback
        assert Cause.parse(raised.value.cause.as_json().encode()) == raised.value.cause


@pytest.mark.parametrize(
    "allocate", [lambda: torch.empty(2**58), lambda: bytearray(2**62), lambda: mmap.mmap(-1, 2**55)]
)
def test_memory_of_the_host_runs_out_like_that_of_a_device(allocate: Callable[[], object]) -> None:
    with pytest.raises((RuntimeError, MemoryError, OSError)) as raised:
        allocate()
    assert Cause.of(raised.value, 0, 1).kind == "out of memory"


def test_what_is_raised_on_top_of_a_lack_of_memory_does_not_hide_it() -> None:
    def capture() -> None:
        try:
            raise torch.OutOfMemoryError("too many images")
        finally:
            raise RuntimeError("the capture could not be ended")

    with pytest.raises(RankFailedError) as raised, ProcessGroup.alone(CPU).joined(0):
        capture()
    assert raised.value.cause.kind == "out of memory"
    assert raised.value.cause.reason == "RuntimeError: the capture could not be ended"


@pytest.mark.parametrize(("rank", "size"), [(2, 2), (-1, 2)])
def test_a_rank_outside_is_a_mistake(rank: int, size: int) -> None:
    with pytest.raises(ValueError, match="must be from 0 to size - 1 = 1"):
        ProcessGroup(rank, size, CPU, HashStore())


def test_several_need_a_store() -> None:
    with pytest.raises(ValueError, match="give a torch TCPStore"):
        ProcessGroup(0, 2, CPU)


def test_only_a_lost_connection_counts_as_one() -> None:
    assert is_lost_connection(torch.distributed.DistBackendError("NCCL"))
    assert is_lost_connection(RuntimeError("[/third_party/gloo/gloo/transport/tcp/pair.cc:561] Connection closed"))
    assert not is_lost_connection(RuntimeError("shapes do not fit"))
    assert not is_lost_connection(ConnectionError("the file server"))
