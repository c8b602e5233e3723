"""Damaged study files and tables through the commands that read them: named or visible, and never a traceback.

A damage is *silent* where a command succeeds and

- a study trains other runs than the sound one, and the dry run does not list them by their ids, or does not name
  the change where the sound study was started before;
- a row of a table is neither packed with the labels and the patient that a plain CSV reader finds in it, nor
  rejected by name; or a column of the sound table is gone and not named.

A cell or number that is another one, as valid as the first, is what its author wrote: no reader can know better.
"""

import csv
import io
import itertools
import logging
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from mutation import damaged_csv, damaged_yaml
from PIL import Image
from typer.testing import CliRunner

from clr_hpc.cli.app import app
from clr_hpc.config.expand import expand
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.nih import parse_findings
from clr_hpc.data.splits import SPLITS
from clr_hpc.store.study_folder import StudyFolder

LONGEST_SECONDS = 5
"""Of a command, in CPU time: the machine may be busy."""
STUDY = {
    "name": "trial",
    "pathologies": ["cardiomegaly", "edema"],
    "optimizers": ["sgd", {"name": "adam", "weight_decay": 0.01}],
    "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.01}, "adam": {"lr_min": 0.0001, "lr_max": 0.001}},
    "stages": {
        "baseline": {"policies": ["cosine"], "epochs": 3},
        "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 1}, "constant"], "epochs": 2},
    },
    "seeds": [0, 1],
    "training": {"epochs": 2, "image_size": 32, "batch_size": 16, "augmentation": {"rotation_degrees": 5.0}},
    "question": {"margin": 0.02},
}
TABLE = "image,patient,sex,age,edema,mass\n" + "".join(
    f"{number:02}.png,p{number // 2},{'MF'[number % 2]},{40 + number},{number % 2},{number // 2 % 2}\n"
    for number in range(8)
)
NIH = "Image Index,Finding Labels,Patient ID,Patient Age,Patient Sex,View Position\n" + "".join(
    f"{number:02}.png,{('Edema', 'No Finding', 'Mass|Edema')[number % 3]},{number // 2 + 1},5{number},F,PA\n"
    for number in range(8)
)


def few_or_many(few: int, many: int) -> "list[object]":
    """Return the numbers of examples: few, and many among the slow tests."""
    return [few, pytest.param(many, marks=pytest.mark.slow)]


def examples(count: int) -> settings:
    return settings(max_examples=count, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])


def told_by(*words: str) -> tuple[int, str]:
    """Return the exit code and the output, without blanks that break lines."""
    logged = io.StringIO()  # pytest has logging's handlers, which would write to stderr
    handler = logging.StreamHandler(logged)
    logging.getLogger("clr_hpc").addHandler(handler)
    started = time.process_time()
    try:
        done = CliRunner().invoke(app, list(words))
    finally:
        logging.getLogger("clr_hpc").removeHandler(handler)
    assert time.process_time() - started < LONGEST_SECONDS, words
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in (0, 2), done.output
    return done.exit_code, done.output + logged.getvalue()


@pytest.mark.parametrize("count", few_or_many(40, 400))
def test_a_damaged_study_is_named_or_seen_in_the_plan(count: int, small_pack: Pack, tmp_path: Path) -> None:
    content = yaml.safe_dump(STUDY | {"pack": str(small_pack.folder)}, sort_keys=False).encode()
    file, started, fresh = tmp_path / "study.yaml", tmp_path / "results", tmp_path / "fresh"
    file.write_bytes(content)
    sound = load_study(file)
    names = {spec.name for spec in expand(sound, small_pack.manifest.checksum)}
    StudyFolder.of(started, sound.name).prepare(sound, small_pack.folder)

    @examples(count)
    @given(damaged_yaml(content))
    def check(damaged: bytes) -> None:
        file.write_bytes(damaged)
        code, told = told_by("run", str(file), "--dry-run", "--results", str(fresh))
        again, told_again = told_by("run", str(file), "--dry-run", "--results", str(started))
        assert not fresh.exists()
        try:
            study = load_study(file)
        except StudyError:
            study = None
        if code == 2:
            assert again == 2
            named = (
                [str(file)] if study is None else [study.pack, f"name: {study.name}", "training image", "_size"]
            )
            assert any(name in told for name in named), told
            return
        assert study is not None
        trained = {spec.name for spec in expand(study, small_pack.manifest.checksum)}
        if study.name == sound.name and trained == names:
            assert again == 0
            return
        assert all(name in told for name in trained), "its runs are listed by their ids"
        assert study.name != sound.name or " → " in told_again, "what differs is named"

    check()


def images_in(folder: Path) -> Path:
    """Make eight small images that differ."""
    folder.mkdir()
    for number in range(8):
        pixels = np.random.default_rng(number).integers(0, 255, (16, 16), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
    return folder


def labels_of_table(row: dict[str, str]) -> tuple[int, ...] | None:
    values = {"1": 1, "0": 0, "": -1, "-1": -1, "nan": -1}
    texts = [(row.get(name) or "").strip() for name in PATHOLOGIES]
    return tuple(values[text] for text in texts) if all(text in values for text in texts) else None


def labels_of_nih(row: dict[str, str]) -> tuple[int, ...] | None:
    try:
        return parse_findings((row.get("Finding Labels") or "").strip())
    except ValueError:
        return None


SOURCES = {
    "table": (
        TABLE,
        ("--image-column", "image", "--patient-column", "patient"),
        ("image", "patient"),
        labels_of_table,
    ),
    "nih": (NIH, (), ("Image Index", "Patient ID"), labels_of_nih),
}


@pytest.mark.parametrize("count", few_or_many(20, 150))
@pytest.mark.parametrize("source", SOURCES)
def test_a_damaged_table_is_named_or_read_as_it_is_written(source: str, count: int, tmp_path: Path) -> None:
    text, options, columns, labels_of = SOURCES[source]
    images, file = images_in(tmp_path / "images"), tmp_path / "labels.csv"
    numbers = itertools.count()

    @examples(count)
    @given(damaged_csv(text.encode()))
    def check(damaged: bytes) -> None:
        file.write_bytes(damaged)
        pack = tmp_path / f"pack{next(numbers)}"
        given = ("--images", str(images), "--labels", str(file), "--output", str(pack), "--size", "16")
        seen, told_before = told_by("inspect", str(file))
        code, told = told_by("pack", source, *given, *options, "--workers", "1", "--validation-fraction", "0")
        if code == 2:
            assert str(file) in told or "no image is left to pack" in told or "has none of the" in told, told
            shutil.rmtree(tmp_path / f"{pack.name}.partial", ignore_errors=True)
            return
        assert seen == 0 or str(file) in told_before
        assert_as_written(Pack.open(pack), damaged, columns, labels_of)
        lost = set(text.splitlines()[0].split(",")) - set(first_row(damaged))
        # a column that was asked for, or that NIH's table has, is missed; of others case and blanks don't matter
        for name in lost - {"sex", "age"}:
            listed = told[told.find("labels of ") :].split(";")[0]  # a pathology that is not in it was not read
            unread = "labels of " in told and name.lower() in PATHOLOGIES and name.lower() not in listed
            read = bare(name) in map(bare, first_row(damaged))
            assert unread or read or name.lower() in told.lower(), (name, told)
        shutil.rmtree(pack)

    check()


def first_row(content: bytes) -> list[str]:
    return [cell.strip() for cell in next(csv.reader(io.StringIO(plain(content), newline="")), [])]


def bare(column: str) -> str:
    """Return the name of a column without what makes no difference in it."""
    return re.sub(r"[\s_-]+", "", column).lower()


def plain(content: bytes) -> str:
    """Return the text of a table in any of the forms that are recognised, with commas."""
    import gzip

    content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
    text = content.decode("utf-16" if content.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    return text if "," in text.partition("\n")[0] else text.replace(";", ",")


def assert_as_written(
    pack: Pack,
    damaged: bytes,
    columns: tuple[str, str],
    labels_of: Callable[[dict[str, str]], tuple[int, ...] | None],
) -> None:
    """See that each row is in the pack as a plain reader finds it, or rejected by name or number."""
    with (pack.folder / pack.manifest.rejected.file).open(newline="") as opened:
        rejected = list(csv.DictReader(opened))
    index = pack.index.set_index("image")
    image_column, patient_column = columns
    reader = csv.DictReader(io.StringIO(plain(damaged), newline=""))
    reader.fieldnames = [name.strip() for name in reader.fieldnames or []]
    own = {bare(name): name for name in (*columns, "Finding Labels", *PATHOLOGIES)}
    for cells in reader:
        row = {own.get(bare(name), name): value for name, value in cells.items() if isinstance(name, str)}
        if not any(cells.values()):
            continue
        image = (row[image_column] or "").strip()
        if any(each["image"] == image or f"row {reader.line_num}" in each["reason"] for each in rejected):
            continue
        assert image in index.index, f"{image} is neither packed nor rejected"
        packed = index.loc[image]
        assert packed["patient"].lstrip("0") == (row[patient_column] or "").strip().lstrip("0")
        assert tuple(packed[list(PATHOLOGIES)].fillna(-1)) == labels_of(row)
    assert set(index["split"]) <= set(SPLITS)
