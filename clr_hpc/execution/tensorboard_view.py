"""A study as TensorBoard shows it: a folder of links with readable names, and the server on it."""

import io
import os
from collections import Counter
from collections.abc import Iterable
from contextlib import redirect_stderr
from pathlib import Path, PurePosixPath

from clr_hpc.config.expand import TESTS_FOLDER, auto_optimizers, expand, is_reference, range_test_study
from clr_hpc.config.run import RunSpec
from clr_hpc.execution.status import study_as_started
from clr_hpc.execution.tensorboard_layout import layout_events
from clr_hpc.store.atomic import written_whole
from clr_hpc.store.study_folder import StudyFolder

RELOAD_SECONDS = 5
LAYOUT_FILE = "events.out.tfevents.0.layout"


class ServerError(Exception):
    """TensorBoard can't be started; the message says why."""


class TensorBoardView:
    """``results/<study>/tensorboard/``: links ``<task>/<architecture>/<optimizer>/<policy>…`` to run folders.

    Links are relative, so that a study's folder can be moved. Several views may be refreshed at once.
    """

    def __init__(self, study: StudyFolder) -> None:
        """Name the folder; ``refresh`` makes it."""
        self.path = study.path / "tensorboard"
        self._study = study
        self._seen: tuple[int, int] | None = None
        self._names: dict[str, PurePosixPath] = {}
        self._tests: tuple[RunSpec, ...] = ()
        """The range tests that its rates are from, which lie outside its folder."""

    def refresh(self) -> None:
        """Link the runs that are there by now; take away links of runs that the study no longer has.

        Raises:
            NothingThereError: the study was never started.
            OSError: the folder can't be written.
        """
        self._read_study()
        self.path.mkdir(exist_ok=True)
        begun = [path for path in self._study.runs.iterdir() if path.name in self._names]
        begun += [path for test in self._tests if (path := self._tests_folder / test.name).exists()]
        wanted = {self._names[path.name]: path for path in begun}
        for link in [path for path in self.path.rglob("*") if path.is_symlink()]:
            if PurePosixPath(link.relative_to(self.path)) not in wanted:
                link.unlink(missing_ok=True)
        for place, run in wanted.items():
            _link(self.path / place, run)

    @property
    def _tests_folder(self) -> Path:
        return self._study.path.parent / TESTS_FOLDER / "runs"

    def _read_study(self) -> None:
        """Expand the study, and again when it was started anew; write the layout that belongs to it."""
        try:
            state = (self._study.path / "study.yaml").stat()
        except FileNotFoundError:
            state = None
        seen = None if state is None else (state.st_mtime_ns, state.st_ino)
        if seen is not None and seen == self._seen:
            return
        study, checksum = study_as_started(self._study)
        runs, auto = expand(study, checksum), auto_optimizers(study)
        if auto:
            tests = expand(range_test_study(study, auto), checksum)
            self._tests = tuple(spec for spec in tests if not is_reference(spec))
        self._names = view_names([*runs, *self._tests])
        self.path.mkdir(exist_ok=True)
        layout, file = layout_events(runs), self.path / LAYOUT_FILE
        if not file.exists() or file.read_bytes() != layout:
            with written_whole(file) as aside:
                aside.write_bytes(layout)
        self._seen = seen


def view_names(runs: Iterable[RunSpec]) -> dict[str, PurePosixPath]:
    """Return where in the view each run stands, by the run's name; with its id where two would be the same."""
    places = {spec.name: (_place(spec), spec.run_id) for spec in runs}
    taken = Counter(place for place, _ in places.values())
    return {
        name: place if taken[place] == 1 else place.with_name(f"{place.name}.{run_id[:6]}")
        for name, (place, run_id) in places.items()
    }


def _place(spec: RunSpec) -> PurePosixPath:
    last = f"{spec.policy.name}.{spec.stage}.seed{spec.seed}"
    return PurePosixPath(spec.task.name, spec.architecture, spec.optimizer.name, last)


def _link(link: Path, run: Path) -> None:
    target = os.path.relpath(run, link.parent)
    try:
        if link.readlink() == Path(target):
            return
    except OSError:
        link.parent.mkdir(parents=True, exist_ok=True)
    try:
        link.symlink_to(target)
    except FileExistsError:
        if link.readlink() != Path(target):
            link.unlink()
            link.symlink_to(target)


def serve(logdir: Path, host: str, port: int) -> str:
    """Start TensorBoard in a thread of this process, and return its address; it ends with the process.

    Raises:
        ServerError: the port is taken or the host is not this machine's.
    """
    from tensorboard import program

    server = program.TensorBoard()
    server.configure(
        logdir=str(logdir), host=host, port=port, reload_interval=RELOAD_SECONDS, window_title=logdir.parent.name
    )
    try:
        with redirect_stderr(io.StringIO()):  # it names options that this command doesn't have
            return str(server.launch())
    except program.TensorBoardServerException as error:
        raise ServerError(f"{error}; --port 0 takes a free port") from error
