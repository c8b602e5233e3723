import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.config.pathologies import NO_FINDING, PATHOLOGIES, UNKNOWN
from clr_hpc.config.policy import Constant
from clr_hpc.config.run import RunSpec, Selection, Training
from clr_hpc.config.task import Autoencoder, BinaryTask, OneClassTask, PretrainingTask, Task
from clr_hpc.data.pack import Pack
from clr_hpc.training.data import EmptyTaskError, LabelledRows, Sampler, patient_sample, task_data, task_labels


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


def run(task: Task, select: Selection | None = None, stage: str = "scratch") -> RunSpec:
    training = Training(epochs=1, image_size=32, select=select)
    shared = {"pack_checksum": "0" * 64, "architecture": "mobilenet_v1", "optimizer": {"name": "sgd"}}
    return RunSpec(**shared, task=task, stage=stage, policy=Constant(lr_max=0.1), training=training)


def one_class(normal: str) -> OneClassTask:
    return OneClassTask(normal=normal, method=Autoencoder())


def test_binary_task_leaves_unknown_labels_out() -> None:
    data = task_data(run(BinaryTask(pathology="mass")), pack_with(mass=[1, None, 0, 0, None, 1]))
    assert data.training.rows.tolist() == [0, 2, 3]
    assert data.training.labels.tolist() == [1, 0, 0]
    assert data.splits["validation"].rows.tolist() == []
    assert data.splits["test"].rows.tolist() == [5]
    assert data.trained_on.all()


def test_a_selection_of_views_holds_for_all_splits() -> None:
    pack = pack_with(mass=[1, 0, 0, 1, 1, 0])
    pack.index["view"] = pd.array(["PA", "AP", None, "PA", "LATERAL", "AP"], dtype="string")
    mass = BinaryTask(pathology="mass")
    frontal = task_data(run(mass, Selection(view="frontal")), pack)
    assert [data.rows.tolist() for data in frontal.splits.values()] == [[0, 1, 3], [], [5]]
    assert task_data(run(mass, Selection(view=["pa", "AP"])), pack).training.labels.tolist() == [1, 0, 1]
    assert run(mass, Selection(view=["PA"])).run_id != run(mass).run_id
    assert "select" not in run(mass).model_dump()["training"], "ids of runs that use all images stay as they were"


def test_no_finding_means_that_all_14_are_known_to_be_absent() -> None:
    pack = pack_with(mass=[1, None, 0, None, 0, 0], nodule=[0, 0, 0, 1, 0, None])
    # an image with a finding is outside, whatever else is unknown of it
    assert task_labels(one_class(NO_FINDING), pack).tolist() == [1, UNKNOWN, 0, 1, 0, UNKNOWN]


def test_one_class_model_learns_from_its_class_and_is_measured_on_both() -> None:
    data = task_data(run(one_class("mass")), pack_with(mass=[1, 0, 1, None, 0, 1]))
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
        task_data(run(task), pack_with(mass=mass))


def labelled(images: int, positives: int) -> LabelledRows:
    labels = np.zeros(images, dtype=np.float32)
    labels[:positives] = 1
    return LabelledRows(np.arange(1000, 1000 + images), labels)


def epoch_of(sampler: Sampler, epoch: int) -> tuple[np.ndarray, np.ndarray]:
    first = epoch * sampler.samples_per_epoch
    starts = range(first, first + sampler.samples_per_epoch, sampler.batch_size)
    rows, labels = zip(*(sampler.batch(start) for start in starts), strict=True)
    return np.concatenate(rows), np.concatenate(labels)


sizes = st.integers(2, 60)


@given(images=sizes, batch_size=sizes, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 50))
def test_an_epoch_sees_no_image_twice_and_leaves_out_less_than_a_batch(
    images: int, batch_size: int, seed: int, epoch: int
) -> None:
    training = labelled(images, 1)
    sampler = Sampler(training, batch_size, seed, balanced=False)
    rows, labels = epoch_of(sampler, epoch)
    assert len(rows) == len(set(rows)) == sampler.samples_per_epoch
    assert images - len(rows) < sampler.batch_size
    assert (labels == training.labels[rows - 1000]).all()


@given(images=sizes, share=st.floats(0.05, 0.95), seed=st.integers(0, 1000))
def test_balanced_epochs_are_half_positive_and_use_images_equally(images: int, share: float, seed: int) -> None:
    training = labelled(images, min(images - 1, max(1, int(share * images))))
    sampler = Sampler(training, 8, seed, balanced=True)
    rows, labels = epoch_of(sampler, 0)
    assert labels.sum() == (sampler.samples_per_epoch + 1) // 2
    for value in (0, 1):
        drawn = np.bincount(rows[labels == value] - 1000, minlength=images)[training.labels == value]
        assert drawn.max() - drawn.min() <= 1


def test_a_batch_is_a_function_of_seed_and_samples_seen() -> None:
    one, two = (Sampler(labelled(50, 5), 8, seed=3, balanced=True) for _ in range(2))
    far = one.batch(7 * one.samples_per_epoch + 8)
    two.batch(0)
    assert all(np.array_equal(a, b) for a, b in zip(far, two.batch(7 * two.samples_per_epoch + 8), strict=True))
    other_seed = Sampler(labelled(50, 5), 8, seed=4, balanced=True)
    assert not np.array_equal(far[0], other_seed.batch(7 * two.samples_per_epoch + 8)[0])


def test_epochs_differ_in_order_and_in_what_they_leave_out() -> None:
    sampler = Sampler(labelled(50, 5), 8, seed=0, balanced=False)
    first, second = epoch_of(sampler, 0)[0], epoch_of(sampler, 1)[0]
    assert not np.array_equal(first, second)
    assert set(first) != set(second)


@given(images=sizes, batch_size=sizes, seed=st.integers(0, 2**31 - 1), epoch=st.integers(0, 50))
def test_views_of_an_image_follow_each_other(images: int, batch_size: int, seed: int, epoch: int) -> None:
    sampler = Sampler(labelled(images, 1), batch_size, seed, views=2)
    assert sampler.batch_size % 2 == 0
    rows, _ = epoch_of(sampler, epoch)
    assert (rows[::2] == rows[1::2]).all()
    assert len(set(rows)) == len(rows) / 2 == sampler.samples_per_epoch / 2


def test_pretraining_learns_from_every_image_whatever_its_labels() -> None:
    found = task_data(run(PretrainingTask(), stage="pretrain"), pack_with(mass=[None, 1, 0, None, 1, None]))
    assert [split.rows.tolist() for split in found.splits.values()] == [[0, 1, 2, 3], [4], [5]]
    assert not np.concatenate([split.labels for split in found.splits.values()]).any()


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    sampler = Sampler(labelled(5, 2), 32, seed=0, balanced=False)
    assert sampler.batch_size == sampler.samples_per_epoch == 5
    assert len(sampler.batch(5)[0]) == 5


PATIENTS = st.lists(st.sampled_from([f"p{number}" for number in range(12)]), min_size=1, max_size=40)


@given(PATIENTS, st.integers(1, 50))
def test_a_sample_has_complete_patients_and_as_many_as_fit(patients: list[str], images: int) -> None:
    names = np.array(patients)
    sample = patient_sample(names, images)
    assert sample.tolist() == sorted(set(sample.tolist()))
    chosen = set(names[sample].tolist())
    assert sample.tolist() == np.flatnonzero(np.isin(names, sorted(chosen))).tolist()
    assert len(sample) <= images or len(chosen) == 1
    assert len(sample) == len(names) or len(sample) + max(map(patients.count, patients)) > images


@given(PATIENTS, st.integers(1, 50), st.integers(1, 50))
def test_a_smaller_sample_is_part_of_a_larger_one(patients: list[str], one: int, other: int) -> None:
    few, more = (set(patient_sample(np.array(patients), images).tolist()) for images in sorted((one, other)))
    assert few <= more


def test_which_patients_are_sampled_depends_on_nothing_but_their_names() -> None:
    names = np.array([f"p{number // 2}" for number in range(400)])
    chosen = set(names[patient_sample(names, 40)].tolist())
    half = names[: len(names) // 2]
    assert len(chosen) == 20
    assert chosen & set(half.tolist()) <= set(half[patient_sample(half, 40)].tolist())
    assert chosen != {f"p{number}" for number in range(20)}


def test_the_sample_is_of_images_whose_label_is_known() -> None:
    spec = run(BinaryTask(pathology="mass"))
    few = spec.model_copy(update={"training": spec.training.model_copy(update={"training_accuracy_images": 2})})
    data = task_data(few, pack_with(mass=[1, 0, 0, None, 1, 1]))
    places = data.training_sample
    assert places.tolist() in ([0, 2], [1])
    assert data.is_sampled
    assert not task_data(spec, pack_with(mass=[1, 0, 0, None, 1, 1])).is_sampled
