"""The phantom as a source: the same films whoever reads them and in whatever order, and a sound table."""

import json
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import get_context

import numpy as np
import pytest

from clr_hpc.config.pathologies import NEGATIVE, PATHOLOGIES, POSITIVE
from clr_hpc.data.source import ImageRecord, RejectedImageError
from clr_hpc.data.sources.phantom import PhantomSource

SOURCE = PhantomSource(images=40, seed=7)


@pytest.fixture(scope="module")
def records() -> tuple[ImageRecord, ...]:
    return SOURCE.table().records


def test_films_are_the_same_in_any_order_and_process(records: tuple[ImageRecord, ...]) -> None:
    here = [SOURCE.read(record, 64) for record in records[:12]]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        elsewhere = list(pool.map(SOURCE.read, reversed(records[:12]), [64] * 12))
    for (pixels, checksum), (same_pixels, same_checksum) in zip(here, reversed(elsewhere), strict=True):
        assert checksum == same_checksum
        assert np.array_equal(pixels, same_pixels)


def test_a_larger_phantom_begins_with_the_smaller_one(records: tuple[ImageRecord, ...]) -> None:
    assert PhantomSource(images=90, seed=7).table().records[:40] == records
    assert len(records) == 40


def test_another_seed_draws_other_patients(records: tuple[ImageRecord, ...]) -> None:
    other = PhantomSource(images=40, seed=8)
    assert other.table().records != records
    assert other.read(records[0], 64)[1] != SOURCE.read(records[0], 64)[1]


def test_the_table_is_sorted_unique_and_whole(records: tuple[ImageRecord, ...]) -> None:
    names = [record.image for record in records]
    assert names == sorted(set(names))
    assert all(record.image.startswith(record.patient + "_") for record in records)
    assert all(set(record.labels) <= {POSITIVE, NEGATIVE} for record in records)
    assert {record.view for record in records} == {"PA", "AP"}
    assert {record.official_split for record in records} == {None}


def test_a_patient_keeps_the_sex_and_grows_older() -> None:
    by_patient: dict[str, list[ImageRecord]] = {}
    for record in PhantomSource(images=500).table().records:
        by_patient.setdefault(record.patient, []).append(record)
    assert max(len(films) for films in by_patient.values()) > 3
    for films in by_patient.values():
        assert len({film.sex for film in films}) == 1
        ages = [film.age_years for film in films if film.age_years is not None]
        assert ages == sorted(ages)
        assert len(films) <= 8


def test_provenance_names_what_was_drawn() -> None:
    provenance = SOURCE.table().provenance
    assert json.loads(json.dumps(provenance)) == {
        "kind": "phantom",
        "images": 40,
        "seed": 7,
        "generator_version": 1,
    }


def test_each_finding_is_frequent_and_a_fifth_has_none() -> None:
    labels = np.array([record.labels for record in PhantomSource(images=6000).table().records])
    shares = dict(zip(PATHOLOGIES, labels.mean(axis=0), strict=True))
    assert all(0.07 < share < 0.25 for share in shares.values()), shares
    assert 0.15 < np.mean(labels.sum(axis=1) == 0) < 0.27
    assert np.mean(labels.sum(axis=1) > 1) > 0.4


def test_findings_come_together_as_in_life() -> None:
    labels = np.array([record.labels for record in PhantomSource(images=6000).table().records])
    edema, effusion, hernia = (labels[:, PATHOLOGIES.index(name)] for name in ("edema", "effusion", "hernia"))
    assert effusion[edema == 1].mean() > 2 * effusion[edema == 0].mean()
    assert hernia[edema == 1].mean() < 1.5 * hernia.mean()


@pytest.mark.parametrize("size", [64, 128, 100])
def test_a_smaller_film_shows_the_same(records: tuple[ImageRecord, ...], size: int) -> None:
    film, checksum = SOURCE.read(records[0], 256)
    small, same_checksum = SOURCE.read(records[0], size)
    assert small.shape == (size, size)
    assert small.dtype == np.uint8
    assert checksum == same_checksum
    assert abs(film.mean() - small.mean()) < 0.5
    if 256 % size == 0:
        averaged = film.reshape(size, 256 // size, size, 256 // size).mean(axis=(1, 3))
        assert np.abs(averaged - small).max() <= 1


def test_a_larger_film_can_be_asked_for(records: tuple[ImageRecord, ...]) -> None:
    pixels, _ = SOURCE.read(records[0], 320)
    assert pixels.shape == (320, 320)


def test_films_of_one_patient_look_alike() -> None:
    source = PhantomSource(images=300, seed=3)
    healthy = [record for record in source.table().records if not any(record.labels) and record.view == "PA"]
    films = {record.image: source.read(record, 32)[0].astype(float).ravel() for record in healthy[:40]}
    correlations: dict[bool, list[float]] = {True: [], False: []}
    for first in films:
        for second in films:
            if first < second:
                same = first[:13] == second[:13]
                correlations[same].append(float(np.corrcoef(films[first], films[second])[0, 1]))
    assert len(correlations[True]) >= 3
    assert np.mean(correlations[True]) > np.mean(correlations[False]) + 0.01


@pytest.mark.parametrize(
    "image",
    [
        "00000001_000.png",
        "phantom_00000_099.png",
        "phantom_00000_-01.png",
        "phantom_0_0.png",
        "phantom_x_000.png",
        "",
    ],
)
def test_a_record_of_another_source_is_rejected(records: tuple[ImageRecord, ...], image: str) -> None:
    with pytest.raises(RejectedImageError, match="no film of the phantom"):
        SOURCE.read(replace(records[0], image=image), 64)


def test_options_are_checked() -> None:
    with pytest.raises(ValueError, match="images=0 must be at least 1"):
        PhantomSource(images=0)
    with pytest.raises(ValueError, match="seed=-1 must not be negative"):
        PhantomSource(images=1, seed=-1)
