"""A study as TensorBoard shows it: a folder of links with readable names, and the server on it."""

import io
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import redirect_stderr
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from clr_hpc.config.base import UserError
from clr_hpc.config.expand import auto_optimizers, expand, is_reference, range_test_study
from clr_hpc.config.pathologies import title
from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.events import METRICS, OPTIMIZER_SETTINGS, POLICY_SETTINGS, hyperparameters
from clr_hpc.store.study_folder import StudyFolder

if TYPE_CHECKING:
    from tensorboard.compat.proto.summary_pb2 import Summary


CHARTS = {
    "validation_auroc": "validation AUROC",
    "validation_loss": "validation loss",
    "learning_rate": "learning rate",
}
"""Titles of the charts, by the last part of the tags that name their task (``clr_hpc.store.events``)."""


def layout_events(runs: Sequence[RunSpec]) -> bytes:
    """Return the file: charts for CUSTOM SCALARS, columns for HPARAMS. The same runs give the same bytes."""
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.summary.writer.record_writer import RecordWriter

    file = io.BytesIO()
    writer = RecordWriter(file)
    writer.write(Event(file_version="brain.Event:2").SerializeToString())
    for summary in (_charts(runs), _columns(runs)):
        writer.write(Event(summary=summary).SerializeToString())
    return file.getvalue()


def _charts(runs: Sequence[RunSpec]) -> "Summary":
    """Return a section for each task, with one chart a quantity in which all its runs are drawn."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.compat.proto.tensor_pb2 import TensorProto
    from tensorboard.compat.proto.tensor_shape_pb2 import TensorShapeProto
    from tensorboard.compat.proto.types_pb2 import DT_STRING
    from tensorboard.plugins.custom_scalar import metadata
    from tensorboard.plugins.custom_scalar.layout_pb2 import Category, Chart, Layout, MultilineChartContent

    categories = []
    for task in dict.fromkeys(spec.task.name for spec in runs if not spec.is_fitted):
        name = title(task).replace("-", ", ")
        charts = [
            Chart(title=f"{name}: {quantity}", multiline=MultilineChartContent(tag=[f"task/{task}/{tag}$"]))
            for tag, quantity in CHARTS.items()
        ]
        categories.append(Category(title=name, chart=charts))
    tensor = TensorProto(
        dtype=DT_STRING,
        string_val=[Layout(category=categories).SerializeToString()],
        tensor_shape=TensorShapeProto(),
    )
    value = Summary.Value(
        tag=metadata.CONFIG_SUMMARY_TAG, tensor=tensor, metadata=metadata.create_summary_metadata()
    )
    return Summary(value=[value])


def _columns(runs: Sequence[RunSpec]) -> "Summary":
    """Return what the study's runs differ in, and the metrics that are compared."""
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.api_pb2 import Experiment, HParamInfo
    from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
    from tensorboard.plugins.hparams.summary_v2 import Discrete, Metric

    columns = []
    for name, values in _choices_that_differ(runs).items():
        # all of these differ, but what says so stands before the others, which are sorted by name
        column = HParamInfo(name=name, differs=name == "task")
        Discrete(values).update_hparam_info(column)
        columns.append(column)
    metrics = [Metric(tag, display_name=name).as_proto() for tag, name in METRICS.items()]
    content = HParamsPluginData(experiment=Experiment(hparam_infos=columns, metric_infos=metrics))
    value = Summary.Value(
        tag=metadata.EXPERIMENT_TAG,
        metadata=metadata.create_summary_metadata(content),
        tensor=metadata.NULL_TENSOR,
    )
    return Summary(value=[value])


def _choices_that_differ(runs: Sequence[RunSpec]) -> dict[str, set[str | float]]:
    """Return the values of what is not the same in all runs; settings only where the name leaves them open."""
    chosen = [hyperparameters(spec) for spec in runs]
    values = {name: {choices[name] for choices in chosen} for name in chosen[0]}
    for settings, of in ((POLICY_SETTINGS, "policy"), (OPTIMIZER_SETTINGS, "optimizer")):
        if len({(choices[of], choices[settings]) for choices in chosen}) == len(values[of]):
            del values[settings]
    return {name: given for name, given in values.items() if len(given) > 1}


RELOAD_SECONDS = 5
LAYOUT_FILE = "events.out.tfevents.0.layout"


class ServerError(UserError):
    """TensorBoard can't be started; the message says why."""


class TensorBoardView:
    """``results/<study>/tensorboard/``: links ``<task>/<architecture>/<optimizer>/<policy>…`` to run folders.

    Links are relative, so that a study's folder can be moved. Several views may be refreshed at once.
    """

    def __init__(self, study: StudyFolder) -> None:
        """Name the folder; ``refresh`` makes it."""
        self.path = study.path / layout.TENSORBOARD
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
        begun = [self._study.runs / name for name in sorted(self._study.begun() & self._names.keys())]
        begun += [path for test in self._tests if (path := self._tests_folder / test.name).exists()]
        wanted = {self._names[path.name]: path for path in begun}
        for link in [path for path in self.path.rglob("*") if path.is_symlink()]:
            if PurePosixPath(link.relative_to(self.path)) not in wanted:
                link.unlink(missing_ok=True)
        for place, run in wanted.items():
            _link(self.path / place, run)

    @property
    def _tests_folder(self) -> Path:
        return self._study.path.parent / layout.RANGE_TESTS / layout.RUNS

    def _read_study(self) -> None:
        """Expand the study, and again when it was started anew; write the layout that belongs to it."""
        try:
            state = (self._study.path / layout.STUDY).stat()
        except FileNotFoundError:
            state = None
        seen = None if state is None else (state.st_mtime_ns, state.st_ino)
        if seen is not None and seen == self._seen:
            return
        started = self._study.started()
        runs, auto = started.runs, auto_optimizers(started.study)
        if auto:
            tests = expand(range_test_study(started.study, auto), started.pack["checksum"])
            self._tests = tuple(spec for spec in tests if not is_reference(spec))
        self._names = view_names([*runs, *self._tests])
        self.path.mkdir(exist_ok=True)
        events, file = layout_events(runs), self.path / LAYOUT_FILE
        if not file.exists() or file.read_bytes() != events:
            with atomic_write(file) as temporary:
                temporary.write_bytes(events)
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
