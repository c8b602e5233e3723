import pytest
from pydantic import TypeAdapter, ValidationError

from clr_hpc.config.task import BinaryTask, DeepSvdd, OneClassTask, Task

ANY_TASK: TypeAdapter[Task] = TypeAdapter(Task)


def test_names_are_those_of_run_folders() -> None:
    assert BinaryTask(pathology="pneumonia").name == "pneumonia"
    assert OneClassTask(method=DeepSvdd()).name == "no_finding-deep_svdd"
    assert OneClassTask(normal="effusion", method=DeepSvdd()).name == "effusion-deep_svdd"


@pytest.mark.parametrize(
    "values",
    [
        {"kind": "binary", "pathology": "mass"},
        {"kind": "one_class", "method": {"name": "deep_svdd", "boundary": "soft", "nu": 0.2}},
        {"kind": "one_class", "method": {"name": "autoencoder", "code_channels": 8}},
        {"kind": "one_class", "method": {"name": "autoencoder", "residual": "ssim", "normalised": True}},
        {"kind": "one_class", "method": {"name": "deep_svdd", "batch_norm_scale": "fixed"}},
        {"kind": "one_class", "normal": "edema", "method": {"name": "one_class_svm", "gamma": 0.01}},
        {"kind": "one_class", "method": {"name": "isolation_forest"}, "threshold_quantile": 0.9},
        {"kind": "one_class", "method": {"name": "nearest_neighbours"}},
    ],
)
def test_a_written_task_is_read_again(values: dict[str, object]) -> None:
    task = ANY_TASK.validate_python(values)
    assert ANY_TASK.validate_json(task.model_dump_json()) == task


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"kind": "binary", "pathology": "pnuemonia"}, "did you mean 'pneumonia'"),
        ({"kind": "one_class", "normal": "?", "method": {"name": "autoencoder"}}, "names no finding"),
        ({"kind": "one_class", "method": {"name": "deep_svdd", "nu": 0.2}}, "boundary: soft only"),
        ({"kind": "one_class", "method": {"name": "deep_svdd", "boundary": "soft", "nu": 0}}, "greater than 0"),
        ({"kind": "one_class", "method": {"name": "autoencoder"}, "threshold_quantile": 95}, "less than 1"),
        ({"kind": "one_class", "method": {"name": "isolation_forest", "tress": 9}}, "did you mean 'trees'"),
    ],
)
def test_mistakes_are_explained(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ANY_TASK.validate_python(values)
