"""What one process of a run tells the others when it fails."""

import json
import traceback
from dataclasses import asdict, dataclass
from typing import Literal

import torch
import torch.distributed as dist

from clr_hpc.store.lease import LeaseLostError

Kind = Literal["diverged", "out of memory", "lease lost", "error"]


@dataclass(frozen=True)
class Cause:
    """Why a run failed, as the process says it that failed first."""

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


class WorldBrokenError(Exception):
    """A process that trains the run is gone without a word, as after a kill: start all anew, the run goes on."""


def _kind(error: BaseException) -> Kind:
    if isinstance(error, FloatingPointError):
        return "diverged"
    if isinstance(error, LeaseLostError):
        return "lease lost"
    # ending a capture that memory cut short may raise on top of that
    while not isinstance(error, torch.OutOfMemoryError):
        if error.__context__ is None:
            return "error"
        error = error.__context__
    return "out of memory"


def is_lost_connection(error: BaseException) -> bool:
    """Say whether an exception means that another process is gone, rather than that this one did something wrong.

    gloo's errors reach Python as plain ``RuntimeError``; what tells them apart is the file they name.
    """
    return isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and "gloo/" in str(error))
