"""``results/<study>/tuning/``: the runs that all searches of a study share, and a folder for each search.

runs/<run name>/          a run folder; equal settings of two searches are one run
<search>.<id>/
    config.json           what is searched, how, and which batch sizes fitted
    trials.jsonl          journal of the trials: see ``Journal``
    outcome.json          outcome so far: ``clr_hpc.tuning.outcome``
    best.yaml             the study with the best settings
    tuning.html           the outcome as a page
"""

import errno
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from clr_hpc.config.base import UserError
from clr_hpc.config.study import Study
from clr_hpc.store import layout
from clr_hpc.store.atomic import sync_folder, write_json
from clr_hpc.store.records import (
    Count,
    DamagedError,
    Number,
    Seconds,
    read_bytes,
    read_record,
    record,
    required,
    why,
)

Event = dict[str, Any]


@record
class Trial(TypedDict):
    """What all events have, and what some have: see ``Journal``."""

    event: Literal["asked", "measured", "promoted", "failed"]
    trial: Count
    values: NotRequired[dict[str, Number]]
    epochs: NotRequired[Count]
    ask_seconds: NotRequired[Seconds]
    by_seed: NotRequired[dict[Annotated[str, Field(pattern=r"^[0-9]{1,9}$")], Number]]
    value: NotRequired[Number]
    reason: NotRequired[str]


_KEYS = {
    "asked": {"values", "epochs", "ask_seconds"},
    "measured": {"epochs", "by_seed", "value"},
    "promoted": {"epochs"},
    "failed": {"reason"},
}


def _has_its_keys(event: Trial) -> Trial:
    if missing := _KEYS[event["event"]] - event.keys():
        raise ValueError(f"{event['event']} lacks {', '.join(sorted(missing))}")
    return event


@record
class SearchConfig(TypedDict):
    """``config.json``."""

    batch_sizes_that_fit: list[Count]


_EVENT: TypeAdapter[Any] = TypeAdapter(Annotated[Trial, AfterValidator(_has_its_keys)])
_CONFIG: TypeAdapter[SearchConfig] = TypeAdapter(SearchConfig)


class Journal:
    """``trials.jsonl``: one JSON object per line, each on disk before it counts.

        {"event": "asked", "trial": 0, "values": {"lr_max": 0.01}, "epochs": 2, "ask_seconds": 0.002}
        {"event": "measured", "trial": 0, "epochs": 2, "by_seed": {"0": 0.71}, "value": 0.71}
        {"event": "promoted", "trial": 0, "epochs": 6}
        {"event": "failed", "trial": 0, "reason": "..."}

    ``epochs`` is where a trial pauses or ends next; ``value`` is that of the objective, the mean over seeds.
    """

    def __init__(self, path: Path) -> None:
        """Use a file in a folder that exists."""
        self._path = path

    def read(self) -> Iterator[Event]:
        """Yield the events so far; a last line that a kill cut short does not count.

        Raises:
            DamagedError: an earlier line is damaged; without it the search would propose other trials.
        """
        remedy = f"put that line right, or delete {self._path.parent} and start the search again"
        content = required(read_bytes(self._path, remedy)) or b""
        trials = 0
        for number, line in enumerate(content.split(b"\n")[:-1], start=1):
            try:
                event = _EVENT.validate_json(line)
            except ValidationError as error:
                raise DamagedError(f"{self._path}: line {number}: {why(error)}; {remedy}") from error
            trials += event["event"] == "asked"
            if event["trial"] != trials - 1 if event["event"] == "asked" else event["trial"] >= trials:
                raise DamagedError(f"{self._path}: line {number}: no trial {event['trial']} comes here; {remedy}")
            yield event

    def append(self, event: Event) -> None:
        """Write an event, so that it survives a power cut."""
        is_new = not self._path.exists()
        with self._path.open("a+b") as file:
            file.truncate(_end_of_whole_lines(self._path))
            file.write(json.dumps(event).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        if is_new:
            sync_folder(self._path.parent)


def _end_of_whole_lines(path: Path) -> int:
    """Return the number of bytes up to the last line break."""
    return path.read_bytes().rfind(b"\n") + 1


FORMAT_VERSION = 1


class TuningInUseError(UserError):
    """Another process runs the same search."""


class TuningFolder:
    """One search's folder."""

    def __init__(self, study_folder: Path, study: Study, pack_checksum: str) -> None:
        """Name the folder after all that determines the trials; their number may change."""
        assert study.tune is not None
        self.study, self.tuning, self.pack_checksum = study, study.tune, pack_checksum
        self._asked = study.model_dump(mode="json") | {"pack_checksum": pack_checksum}
        del self._asked["tune"]["trials"]
        decides = {name: value for name, value in self._asked.items() if name != "pack"}  # its path may change
        digest = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:10]
        tuning = study_folder / layout.TUNING
        self.path = tuning / f"{study.tune.search}.{digest}"
        self.runs = tuning / "runs"
        self.journal = Journal(self.path / layout.TRIALS)

    @contextmanager
    def opened(self) -> Iterator[None]:
        """Make the folder and keep other processes of this machine out of it.

        Raises:
            TuningInUseError: one has it open.
        """
        self.runs.mkdir(parents=True, exist_ok=True)
        self.path.mkdir(exist_ok=True)
        lock = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EAGAIN, errno.EACCES):
                    raise
                raise TuningInUseError(
                    f"{self.path} is in use by another process; wait until it ends, or stop it"
                ) from None
            yield
        finally:
            os.close(lock)

    def batch_sizes_that_fit(self) -> tuple[int, ...] | None:
        """Return what was found when the search began, also on another machine; None before."""
        found = read_record(self.path / layout.SEARCH, _CONFIG, f"delete {self.path} and search again")
        config = required(found)
        return None if config is None else tuple(config["batch_sizes_that_fit"])

    def write_config(self, batch_sizes_that_fit: tuple[int, ...]) -> None:
        """Write ``config.json``."""
        config: dict[str, Any] = {
            "format_version": FORMAT_VERSION,
            "batch_sizes_that_fit": list(batch_sizes_that_fit),
            "study": self._asked,
        }
        write_json(self.path / layout.SEARCH, config)
