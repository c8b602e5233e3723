"""The process group that trains one run together: its collectives, and how all processes learn that one failed.

Gradients and batch norm go through torch's default process group. Small control messages go through it too, as CPU
tensors over gloo, so that none of them waits for the device.
"""

import errno
import json
import re
import threading
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Literal, TypeVar

import torch
import torch.distributed as dist

# Its functions hold on to the process group that is there when it is imported, and so to its connections: the
# others would wait for a process that has long left its group. DDP imports it; here there is no group of ours yet.
import torch.distributed.nn.functional
from torch import Tensor
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]

from clr_hpc.store.lease import LeaseLostError

Kind = Literal["diverged", "out of memory", "lease lost", "error"]


@dataclass(frozen=True)
class Cause:
    """Why a run failed, by the process that failed first."""

    kind: Kind
    reason: str
    """The exception and, of several processes, the rank."""
    traceback: str

    @classmethod
    def of(cls, error: BaseException, rank: int, size: int) -> "Cause":
        """Describe an exception of a rank."""
        where = f"rank {rank} of {size}: " if size > 1 else ""
        return cls(
            _kind(error),
            f"{where}{type(error).__name__}: {error}",
            "".join(traceback.format_exception(error)),
        )

    def as_json(self) -> str:
        """Return what ``parse`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def parse(cls, text: bytes) -> "Cause":
        """Read what ``as_json`` wrote."""
        return cls(**json.loads(text))


class RankFailedError(Exception):
    """One of the processes that train a run together raised; all of them raise this, with the same cause."""

    def __init__(self, cause: Cause) -> None:
        """Take the cause from the process that failed first."""
        super().__init__(cause.reason)
        self.cause = cause


class RankLostError(Exception):
    """A process was lost without a report, as after a kill: start all processes again, and the run resumes."""


def _kind(error: BaseException) -> Kind:
    if isinstance(error, FloatingPointError):
        return "diverged"
    if isinstance(error, LeaseLostError):
        return "lease lost"
    return "out of memory" if is_out_of_memory(error) else "error"


_OUT_OF_MEMORY = re.compile(
    r"can't allocate memory|cannot allocate memory|not enough memory|bad_alloc", re.IGNORECASE
)


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether an exception means that the memory of the device or of the host is used up.

    torch's own error is that of devices. On the host its allocator and C++ raise plain ``RuntimeError``.
    """
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    if isinstance(error, OSError) and error.errno == errno.ENOMEM:
        return True
    if isinstance(error, RuntimeError) and _OUT_OF_MEMORY.search(str(error)):
        return True
    # ending a capture that memory cut short may raise on top of that
    return error.__context__ is not None and is_out_of_memory(error.__context__)


def is_lost_connection(error: BaseException) -> bool:
    """Say whether an exception means that another process is gone, rather than an error in this one.

    gloo's errors reach Python as plain ``RuntimeError``; what tells them apart is the file they name.
    """
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))


T = TypeVar("T")
_CAUSE, _LEAVING, _ALL_LEAVE = "cause", "leaving", "all leave"
WATCH_SECONDS = 0.5
"""Interval at which a waiting process checks whether another has failed."""


class DisagreementError(Exception):
    """Processes that train one run together differ in what must be the same."""


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those that train a run together."""

    rank: int
    size: int
    device: torch.device
    store: Store | None = None
    """Rendezvous of the processes; no other run uses it. A numbered ``PrefixStore`` will do."""
    timeout_seconds: float = 300.0
    """Timeout after which a process takes the others for lost."""

    def __post_init__(self) -> None:
        """Check that several processes can find each other.

        Raises:
            ValueError: the rank is none of these, or there is no store for several.
        """
        if not 0 <= self.rank < self.size:
            raise ValueError(f"rank={self.rank} must be from 0 to size - 1 = {self.size - 1}")
        if self.size > 1 and self.store is None:
            raise ValueError(f"{self.size} processes need a store to find each other; give a torch TCPStore")

    @classmethod
    def alone(cls, device: torch.device) -> "ProcessGroup":
        """Return the group of one process."""
        return cls(0, 1, device)

    @property
    def is_rank0(self) -> bool:
        """Whether this process reads and writes the run's folder."""
        return self.rank == 0

    @contextmanager
    def joined(self, attempt: int) -> Iterator[None]:
        """Form the process group, and leave it however the block ends. A single process needs none.

        Args:
            attempt: a number that this group has not used before, the same in all processes.

        Raises:
            RankFailedError: the block raised in this process or in another; all get the same cause.
            RankLostError: another process is gone without a report.
        """
        store = self._join(attempt)
        left = threading.Event()
        if store is not None:
            threading.Thread(target=self._leave_with_others, args=(store, left), daemon=True).start()
        try:
            yield
        except Exception as error:
            raise self._failure(error, store) from error
        except BaseException:
            self._abort()
            raise
        else:
            if store is not None:
                # whoever leaves first would cut off those who still read its last message
                self._leave_together(store)
        finally:
            left.set()
            if store is not None and dist.is_initialized():
                dist.destroy_process_group()

    def _leave_with_others(self, store: Store, left: threading.Event) -> None:
        """Abort what this process waits for when another has reported why it left.

        NCCL's kernels would wait for the timeout, and so does gloo during an all-reduce of gradients.
        """
        while not left.wait(WATCH_SECONDS):
            try:
                if store.check([_CAUSE]):
                    self._abort()
                    return
            except RuntimeError:  # the store is gone, and who served it
                return

    def share(self, count: int, rank: int | None = None) -> slice:
        """Return which of ``count`` things are a rank's: disjoint, in rank order, all of them, even to one."""
        rank = self.rank if rank is None else rank
        return slice(rank * count // self.size, (rank + 1) * count // self.size)

    def any(self, *flags: bool) -> tuple[bool, ...]:
        """Say for each flag whether any process raised it."""
        if self.size == 1:
            return flags
        raised = torch.tensor(flags, dtype=torch.uint8)
        dist.all_reduce(raised, dist.ReduceOp.MAX)
        return tuple(bool(flag) for flag in raised.tolist())

    def all_gather(self, value: T) -> list[T]:
        """Return the values of all processes, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def broadcast_from_rank0(self, make: Callable[[], T]) -> T:
        """Return what ``make`` returns in the first process; the others don't call it."""
        if self.size == 1:
            return make()
        box: list[Any] = [make() if self.is_rank0 else None]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        value: T = box[0]
        return value

    def broadcast_tensors_from_rank0(self, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return the tensors that ``make`` returns in rank 0, on the CPU; the others don't call it."""
        from safetensors.torch import load, save

        if self.size == 1:
            return make()

        def packed() -> bytes:
            return save({name: tensor.detach().cpu().contiguous() for name, tensor in make().items()})

        return load(self.broadcast_from_rank0(packed))

    def assert_same_on_all_ranks(self, what: str, value: object) -> None:
        """Check that all processes have the same value.

        Raises:
            DisagreementError: they have not.
        """
        values = self.all_gather(value)
        if any(other != values[0] for other in values):
            raise DisagreementError(
                f"the processes of this run differ in {what}: {', '.join(map(str, values))} by rank; "
                "they must see the same shared disk and run the same code"
            )

    def _join(self, attempt: int) -> Store | None:
        if self.size == 1:
            return None
        assert self.store is not None
        cuda = self.device.type == "cuda"
        if cuda:
            torch.cuda.set_device(self.device)
        store = PrefixStore(f"attempt{attempt}", self.store)
        try:
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if cuda else "gloo",
                store=store,
                rank=self.rank,
                world_size=self.size,
                timeout=timedelta(seconds=self.timeout_seconds),
            )
        except RuntimeError as error:
            raise RankLostError(f"rank {self.rank} of {self.size} could not join the others: {error}") from error
        return store

    def _failure(self, error: Exception, store: Store | None) -> Exception:
        """Return the error that all processes raise, the first one's, and leave the group so that they notice."""
        own = Cause.of(error, self.rank, self.size)
        if store is None:
            return RankFailedError(own)
        lost = is_lost_connection(error)
        try:
            if not lost:
                return RankFailedError(Cause.parse(store.compare_set(_CAUSE, "", own.as_json())))
            if store.check([_CAUSE]):
                return RankFailedError(Cause.parse(store.get(_CAUSE)))
        except RuntimeError as of_store:
            return RankLostError(f"rank {self.rank} of {self.size} lost the store: {of_store}")
        finally:
            self._abort()
        return RankLostError(f"rank {self.rank} of {self.size} lost a process that left no report: {error}")

    def _abort(self) -> None:
        """End the collectives of this process: NCCL's kernels would wait for the others for ever."""
        if dist.is_initialized() and dist.group.WORLD is not None:
            dist.group.WORLD.abort()

    def _leave_together(self, store: Store) -> None:
        """Wait until all processes have left the block and have no message in transit."""
        try:
            dist.all_reduce(torch.zeros(1))
            if store.add(_LEAVING, 1) == self.size:
                store.set(_ALL_LEAVE, "")
            store.wait([_ALL_LEAVE], timedelta(seconds=self.timeout_seconds))
        except RuntimeError as error:
            raise self._failure(error, store) from error
