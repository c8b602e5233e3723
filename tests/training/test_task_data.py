import numpy as np
import pandas as pd
import pytest

from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES, UNKNOWN
from clr_hpc.config.task import Autoencoder, BinaryTask, OneClassTask
from clr_hpc.data.pack import Pack
from clr_hpc.training.task_data import EmptyTaskError, task_data, task_labels


class TablePack(Pack):
    """A pack of an index alone."""

    def __init__(self, index: pd.DataFrame) -> None:
        self.__dict__["index"] = index


def pack_with(**columns: list[int | None]) -> Pack:
    """Four training images of three patients and one each for validation and test; other labels are negative."""
    index = pd.DataFrame({name: pd.array([0] * 6, dtype="Int8") for name in PATHOLOGIES})
    for name, values in columns.items():
        index[name] = pd.array(values, dtype="Int8")
    index["split"] = ["train"] * 4 + ["validation", "test"]
    index["patient"] = ["b", "a", "b", "c", "d", "e"]
    return TablePack(index)


def one_class(normal: str) -> OneClassTask:
    return OneClassTask(normal=normal, method=Autoencoder())


def test_binary_task_leaves_unknown_labels_out() -> None:
    data = task_data(BinaryTask(pathology="mass"), pack_with(mass=[1, None, 0, 0, None, 1]))
    assert data.training.rows.tolist() == [0, 2, 3]
    assert data.training.labels.tolist() == [1, 0, 0]
    assert data.splits["validation"].rows.tolist() == []
    assert data.splits["test"].rows.tolist() == [5]
    assert data.trained_on.all()


def test_no_finding_means_that_all_14_are_known_to_be_absent() -> None:
    pack = pack_with(mass=[1, None, 0, None, 0, 0], nodule=[0, 0, 0, 1, 0, None])
    # an image with a finding is outside, whatever else is unknown of it
    assert task_labels(one_class(NO_FINDING), pack).tolist() == [1, UNKNOWN, 0, 1, 0, UNKNOWN]


def test_one_class_model_learns_from_its_class_and_is_measured_on_both() -> None:
    data = task_data(one_class("mass"), pack_with(mass=[1, 0, 1, None, 0, 1]))
    assert data.training.rows.tolist() == [0, 2]
    assert data.splits["train"].rows.tolist() == [0, 1, 2]
    assert data.splits["train"].labels.tolist() == [0, 1, 0]
    assert data.splits["test"].labels.tolist() == [0]
    assert data.trained_on.tolist() == [True, False, True]
    assert len(np.unique(data.training_patients)) == 1, "images 0 and 2 are of one patient"


@pytest.mark.parametrize(
    ("task", "mass", "message"),
    [
        (BinaryTask(pathology="mass"), [0, 0, 0, None, 1, 1], "no training image with mass among 3"),
        (BinaryTask(pathology="mass"), [1, 1, 1, 1, 0, 0], "no training image without mass among 4"),
        (one_class("mass"), [0, 0, 1, None, 1, 1], "1 training images of mass"),
    ],
)
def test_nothing_to_learn_from_is_an_error(task: BinaryTask | OneClassTask, mass: list[int], message: str) -> None:
    with pytest.raises(EmptyTaskError, match=message):
        task_data(task, pack_with(mass=mass))
