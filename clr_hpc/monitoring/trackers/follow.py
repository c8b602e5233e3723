"""A process of its own that mirrors a study while it is trained, so that no tracker can hold training up.

Its standard input is a pipe whose other end the command holds. When that end is closed, also by a kill, it mirrors
what is left and ends.
"""

import json
import logging
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from clr_hpc.config.base import UserError
from clr_hpc.monitoring.trackers.base import find_tracker
from clr_hpc.monitoring.trackers.mirror import Mirror, Mirrored
from clr_hpc.store import layout
from clr_hpc.store.provenance import safe_path
from clr_hpc.store.study_folder import StudyFolder

ROUND_SECONDS = 10.0
"""Between two rounds."""
LAST_ROUND_SECONDS = 60.0
"""That a command waits for the last round."""
log = logging.getLogger(__name__)


class Follower:
    """The process, as the command that trains has it."""

    def __init__(self, folder: Path, trackers: Sequence[str]) -> None:
        """Start it."""
        self._trackers = trackers
        command = [sys.executable, *safe_path(), "-m", __name__, str(folder.absolute()), *trackers]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C is for the command, which ends this by its pipe
        )

    @property
    def process_id(self) -> int:
        """That of the process."""
        return self._process.pid

    def let_go(self) -> None:
        """Have it end by itself after a last round, without waiting."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

    def finish(self, seconds: float = LAST_ROUND_SECONDS) -> list[Mirrored]:
        """Wait for a last round, and return what each tracker has."""
        try:
            output, _ = self._process.communicate(timeout=seconds)
            return [Mirrored(**json.loads(line)) for line in output.splitlines()]
        except (subprocess.TimeoutExpired, ValueError, TypeError):
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.communicate()
            why = f"no answer within {seconds:g} s"
            return [Mirrored(name, 0, 0, None, why) for name in self._trackers]


@contextmanager
def followed(folder: Path, trackers: Sequence[str]) -> Iterator[Follower]:
    """Mirror a study while the context lasts; after an error the last round is not waited for."""
    follower = Follower(folder, trackers)
    try:
        yield follower
    finally:
        follower.let_go()


def main(arguments: Sequence[str]) -> None:
    """Mirror the study in a folder, the first argument, into the trackers that the others name."""
    folder, names = StudyFolder(Path(arguments[0])), arguments[1:]
    answer = os.fdopen(os.dup(1), "w")  # which nothing that a tracker starts inherits
    os.dup2(2, 1)
    os.nice(10)
    while not (folder.path / layout.STUDY).exists():
        if _has_ended(0.5):
            return
    with ExitStack() as stack:
        mirrors: dict[str, Mirror] = {}
        is_last = False
        while True:
            begun = time.monotonic()
            found = [_round(name, folder, mirrors, stack) for name in names]
            if is_last:
                break
            is_last = _has_ended(max(0.0, ROUND_SECONDS - (time.monotonic() - begun)))
    answer.writelines(json.dumps(asdict(each)) + "\n" for each in found)
    answer.close()


def _round(name: str, folder: StudyFolder, mirrors: dict[str, Mirror], stack: ExitStack) -> Mirrored:
    """Mirror into one tracker; what fails is an answer, and tried again in the next round."""
    try:
        if name not in mirrors:
            mirrors[name] = stack.enter_context(Mirror(folder, find_tracker(name)))
            _log_to(folder.path / layout.TRACKERS / "log")
        return mirrors[name].round()
    except (UserError, OSError) as error:
        return Mirrored(name, 0, 0, None, str(error))
    except Exception as error:
        log.exception("mistake in the mirror of %s", name)
        return Mirrored(name, 0, 0, None, f"{type(error).__name__}: {error}")


def _has_ended(seconds: float) -> bool:
    """Wait for the command to close the pipe; return whether it did."""
    readable, _, _ = select.select([0], [], [], seconds)
    return bool(readable)


def _log_to(path: Path) -> None:
    """Have all that is printed from now on appended to a file."""
    with path.open("a") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    logging.basicConfig(format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("clr_hpc").setLevel(logging.INFO)


if __name__ == "__main__":
    main(sys.argv[1:])
