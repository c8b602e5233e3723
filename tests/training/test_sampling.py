import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.training.sampling import LabelledRows, Sampler


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


def test_a_split_smaller_than_a_batch_is_one_batch() -> None:
    sampler = Sampler(labelled(5, 2), 32, seed=0, balanced=False)
    assert sampler.batch_size == sampler.samples_per_epoch == 5
    assert len(sampler.batch(5)[0]) == 5
