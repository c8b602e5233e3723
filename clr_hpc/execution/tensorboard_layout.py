"""Which charts and columns TensorBoard shows of a study, as the bytes of an event file."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING

from clr_hpc.config.pathologies import title
from clr_hpc.config.run import RunSpec
from clr_hpc.store.events import METRICS, OPTIMIZER_SETTINGS, POLICY_SETTINGS, hyperparameters

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
