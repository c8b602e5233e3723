import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal
from PIL import Image

from clr_hpc.data import shards
from clr_hpc.data.build import build_pack
from clr_hpc.data.manifest import PackError
from clr_hpc.data.pack import Pack
from clr_hpc.data.shards import PackProgress
from clr_hpc.data.source import ImageRecord, SourceError, SourceTable
from clr_hpc.data.sources.nih import NihSource
from clr_hpc.data.sources.table import TableSource
from clr_hpc.data.splits import OfficialSplit, SeededSplit

SIZE = 32
ROWS_A_SHARD = 40


def picture(number: int, height: int = 64, width: int = 64) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (height, width), dtype=np.uint8)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "SHARD_BYTES", ROWS_A_SHARD * SIZE**2)


class Endless:
    """More images than any disk has room for."""

    def table(self) -> SourceTable:
        record = ImageRecord(image="", patient="1", labels=(0,) * 14)
        return SourceTable(tuple(replace(record, image=f"{number:07d}") for number in range(300)))

    def read(self, _record: ImageRecord, _size: int) -> tuple[np.ndarray, str]:
        raise AssertionError("no image is read")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def test_a_pack_holds_every_image_where_its_index_says(make_nih_folder: Callable, tmp_path: Path) -> None:
    made = make_nih_folder(100)
    manifest = build_pack(made.source, tmp_path / "pack", SIZE, workers=1)
    pack = Pack.open(tmp_path / "pack", verify=True)
    assert pack.manifest == manifest
    assert [entry.rows for entry in manifest.shards] == [40, 40, 20]
    assert manifest.counts.images == len(pack.index) == 100
    assert manifest.counts.patients == 34
    assert list(pack.index["image"]) == sorted(pack.index["image"])
    expected = [picture(n).reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3)) for n in range(100)]
    assert np.abs(pack.gather(np.arange(100)) - np.stack(expected)).max() <= 0.5


def test_the_bytes_do_not_depend_on_the_number_of_workers(make_nih_folder: Callable, tmp_path: Path) -> None:
    made = make_nih_folder(100)
    build_pack(made.source, tmp_path / "one", SIZE, workers=1)
    build_pack(made.source, tmp_path / "three", SIZE, workers=3)
    assert contents(tmp_path / "one") == contents(tmp_path / "three")


KILLED = """
import multiprocessing, os, signal, sys
from pathlib import Path
from clr_hpc.data import build, shards
from clr_hpc.data.sources.nih import NihSource

if __name__ == "__main__":
    folder, output, pids = map(Path, sys.argv[1:4])
    size, rows = map(int, sys.argv[4:6])
    moment = sys.argv[6]
    shards.SHARD_BYTES = rows * size**2

    def die(*_):
        workers = multiprocessing.active_children()
        pids.write_text(" ".join(str(worker.pid) for worker in workers))
        os.kill(os.getpid(), signal.SIGKILL)

    def report(progress):
        if moment != "publishing" and progress.done >= int(moment):
            die()

    if moment == "publishing":
        build._publish = die
    source = NihSource(folder / "images", folder / "Data_Entry_2017_v2020.csv")
    build.build_pack(source, output, size, workers=2, report=report)
"""


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc to see which processes run")
@pytest.mark.parametrize(("moment", "resumed"), [("20", 0), ("60", 40), ("120", 80), ("publishing", 120)])
def test_killed_and_started_again_it_goes_on_and_ends_with_the_same_bytes(
    make_nih_folder: Callable, tmp_path: Path, moment: str, resumed: int
) -> None:
    made = make_nih_folder(120)
    script = tmp_path / "killed.py"
    script.write_text(KILLED)
    output, pids = tmp_path / "pack", tmp_path / "pids"
    arguments = [script, made.folder, output, pids, str(SIZE), str(ROWS_A_SHARD), moment]
    ended = subprocess.run([sys.executable, *arguments], capture_output=True, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert not output.exists()

    deadline = time.monotonic() + 20
    workers = [int(pid) for pid in pids.read_text().split()]
    while (alive := [pid for pid in workers if is_running(pid)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive, "workers outlive their parent"

    told: list[PackProgress] = []
    build_pack(made.source, output, SIZE, workers=1, report=told.append)
    assert told[0] == PackProgress(done=resumed, total=120, resumed=resumed)
    assert told[-1].done == 120
    assert not output.with_name("pack.partial").exists()
    build_pack(made.source, tmp_path / "whole", SIZE, workers=1)
    assert contents(output) == contents(tmp_path / "whole")


@contextmanager
def cut_short(after: int) -> Iterator[Callable[[PackProgress], None]]:
    """Give a report that stops the packing once ``after`` images are read."""

    def report(progress: PackProgress) -> None:
        if progress.done >= after:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        yield report


def test_only_shards_whose_images_changed_are_read_again(make_nih_folder: Callable, tmp_path: Path) -> None:
    made = make_nih_folder(120)
    with cut_short(after=100) as report:
        build_pack(made.source, tmp_path / "pack", SIZE, workers=2, report=report)
    Image.fromarray(picture(999)).save(made.images / "00000001_001.png")
    told: list[PackProgress] = []
    build_pack(made.source, tmp_path / "pack", SIZE, workers=1, report=told.append)
    assert told[0].resumed == 40
    build_pack(made.source, tmp_path / "whole", SIZE, workers=1)
    assert contents(tmp_path / "pack") == contents(tmp_path / "whole")


def test_another_size_or_table_starts_afresh_and_leaves_nothing_behind(
    make_nih_folder: Callable, tmp_path: Path
) -> None:
    made = make_nih_folder(120)
    with cut_short(after=100) as report:
        build_pack(made.source, tmp_path / "pack", SIZE, workers=1, report=report)
    told: list[PackProgress] = []
    build_pack(made.source, tmp_path / "pack", 2 * SIZE, workers=1, report=told.append)
    assert told[0].resumed == 0
    with cut_short(after=100) as report:
        build_pack(made.source, tmp_path / "other", SIZE, workers=1, report=report)
    lines = made.labels.read_text().splitlines(keepends=True)
    made.labels.write_text("".join(lines[:31]))
    for path in sorted(made.images.iterdir())[30:]:
        path.unlink()
    build_pack(made.source, tmp_path / "other", SIZE, workers=1, report=told.append)
    assert told[-1] == PackProgress(done=30, total=30, resumed=0)
    assert sorted(contents(tmp_path / "other")) == [
        "index.parquet",
        "manifest.json",
        "rejected.csv",
        "shard-00000.npy",
    ]


def test_every_bad_image_is_rejected_with_its_reason_and_the_rest_is_packed(
    make_nih_folder: Callable, tmp_path: Path, rejected: Callable
) -> None:
    made = make_nih_folder(30)
    whole = (made.images / "00000001_000.png").read_bytes()
    bad: dict[str, bytes] = {
        "00000002_000.png": b"",
        "00000002_001.png": whole[: len(whole) // 2],
        "00000002_002.png": b"<html>404</html>",
        "00000006_000.png": whole,
    }
    for name, data in bad.items():
        (made.images / name).write_bytes(data)
    images = {
        "00000004_000.png": Image.fromarray(np.zeros((64, 64), np.uint16)),
        "00000004_001.png": Image.merge("RGB", [Image.fromarray(picture(n)) for n in range(3)]),
        "00000004_002.png": Image.fromarray(picture(1, 16, 16)),
        "00000005_000.png": Image.fromarray(np.dstack([picture(50)] * 3 + [np.full((64, 64), 255, np.uint8)])),
        "00000005_001.png": Image.fromarray(picture(51).astype(np.uint16) * 257),
    }
    for name, image in images.items():
        image.save(made.images / name)
    Image.fromarray(picture(77)).save(made.images / "unlabelled.png")
    made.add_row("missing.png")

    manifest = build_pack(made.source, tmp_path / "pack", SIZE, workers=2)
    reasons = rejected(tmp_path / "pack")
    for name, reason in {
        "00000002_000.png": "empty file",
        "00000002_001.png": "truncated",
        "00000002_002.png": "not an image",
        "00000006_000.png": "same bytes as 00000001_000.png",
        "00000004_000.png": "blank: black",
        "00000004_001.png": "coloured",
        "00000004_002.png": "16 × 16 is smaller",
        "unlabelled.png": "no row in the label table",
        "missing.png": "no file of this name",
    }.items():
        assert reason in reasons.pop(name)
    assert reasons == {}
    pack = Pack.open(tmp_path / "pack", verify=True)
    assert manifest.counts.rejected == 9
    assert len(pack.index) == 23
    assert {"00000005_000.png", "00000005_001.png"} < set(pack.index["image"])
    row = pack.index.index[pack.index["image"] == "00000005_001.png"].to_numpy()
    mean = picture(51).reshape(SIZE, 2, SIZE, 2).mean(axis=(1, 3))
    assert np.abs(pack.gather(row)[0] - mean).max() <= 0.5


def test_strict_lists_the_rejections_makes_no_pack_and_goes_on_from_there(
    make_nih_folder: Callable, tmp_path: Path
) -> None:
    made = make_nih_folder(100)
    (made.images / "00000001_000.png").write_bytes(b"")
    with pytest.raises(PackError, match=r"no pack was made, 1 rejected .*\n  00000001_000.png: empty file"):
        build_pack(made.source, tmp_path / "pack", SIZE, workers=1, strict=True)
    assert not (tmp_path / "pack").exists()
    listing = tmp_path / "pack.partial" / "pack" / "rejected.csv"
    assert "00000001_000.png,empty file" in listing.read_text()
    told: list[PackProgress] = []
    build_pack(made.source, tmp_path / "pack", SIZE, workers=1, report=told.append)
    assert told[0].resumed == 100


def test_in_a_subset_rows_without_a_file_are_counted_and_strict_passes(
    make_nih_folder: Callable, tmp_path: Path
) -> None:
    made = make_nih_folder(30)
    made.add_row("elsewhere.png")
    source = NihSource(made.images, made.labels, subset=True)
    manifest = build_pack(source, tmp_path / "pack", SIZE, workers=1, strict=True)
    assert manifest.counts.rejected == 0
    assert manifest.source["rows_without_file"] == 1


def test_the_publishers_split_is_taken_where_there_is_one(
    make_nih_folder: Callable, tmp_path: Path, rejected: Callable
) -> None:
    made = make_nih_folder(60)
    names = sorted(path.name for path in made.images.iterdir())
    made.write_lists(names[12:], names[:9])
    manifest = build_pack(made.source_with_lists, tmp_path / "pack", SIZE, workers=1)
    assert manifest.split == OfficialSplit()
    pack = Pack.open(tmp_path / "pack")
    assert list(pack.index["image"][pack.rows_of("test")]) == names[:9]
    assert rejected(tmp_path / "pack") == dict.fromkeys(names[9:12], "on none of the publisher's lists")
    assert pack.index.groupby("patient")["split"].nunique().max() == 1


def test_a_split_by_seed_is_in_the_index_and_the_counts(make_nih_folder: Callable, tmp_path: Path) -> None:
    made = make_nih_folder(90)
    split = SeededSplit(seed=3, validation_fraction=0.3, test_fraction=0.3)
    manifest = build_pack(made.source, tmp_path / "pack", SIZE, split, workers=1)
    index = Pack.open(tmp_path / "pack").index
    assert manifest.split == split
    for name, counts in manifest.counts.splits.items():
        part = index[index["split"] == name]
        assert counts.images == len(part) > 0
        assert counts.patients == part["patient"].nunique()
        assert counts.labels["effusion"].positive == part["effusion"].sum()
        assert counts.labels["effusion"].negative == (part["effusion"] == 0).sum()


def test_boxes_are_kept_in_pixels_of_the_pack(make_nih_folder: Callable, tmp_path: Path) -> None:
    made = make_nih_folder(9)
    path = made.folder / "boxes.csv"
    path.write_text(
        "Image Index,Finding Label,Bbox [x,y,w,h],,,\n"
        "00000001_000.png,Mass,512,256,128,64,,,\n"
        "not_packed.png,Mass,1,2,3,4,,,\n"
    )
    source = NihSource(made.images, made.labels, boxes=path)
    manifest = build_pack(source, tmp_path / "pack", SIZE, workers=1)
    assert manifest.boxes is not None
    boxes = pd.read_parquet(tmp_path / "pack" / manifest.boxes.file)
    assert boxes.to_dict("records") == [
        {"image": "00000001_000.png", "pathology": "mass", "left": 16, "top": 8, "width": 4, "height": 2}
    ]


def test_unknown_labels_are_null_in_the_index(tmp_path: Path, rejected: Callable) -> None:
    (tmp_path / "images").mkdir()
    for number in range(4):
        Image.fromarray(picture(number)).save(tmp_path / "images" / f"{number}.png")
    (tmp_path / "table.csv").write_text("image,edema,mass\n0.png,1,0\n1.png,-1,1\n2.png,,0\n3.png,,\n")
    source = TableSource(tmp_path / "images", tmp_path / "table.csv", image_column="image", image_is_patient=True)
    manifest = build_pack(source, tmp_path / "pack", SIZE, SeededSplit(test_fraction=0.5), workers=1)
    pack = Pack.open(tmp_path / "pack")
    assert pack.index["edema"].isna().tolist() == [False, True, True]
    assert pack.labels("edema").tolist() == [1, -1, -1]
    assert pack.labels("hernia").tolist() == [-1, -1, -1]
    assert rejected(tmp_path / "pack") == {"3.png": "no label in the label table"}
    assert sum(counts.labels["edema"].unknown for counts in manifest.counts.splits.values()) == 2


def test_what_can_not_become_a_pack_is_refused(make_nih_folder: Callable, tmp_path: Path) -> None:
    made = make_nih_folder(6)
    (tmp_path / "there").mkdir()
    with pytest.raises(PackError, match="there exists; delete it"):
        build_pack(made.source, tmp_path / "there", SIZE)
    with pytest.raises(SourceError, match="is not a folder"):
        build_pack(NihSource(tmp_path / "absent", made.labels), tmp_path / "pack", SIZE)
    assert not (tmp_path / "pack.partial").exists()
    with pytest.raises(PackError, match=r"no image is left to pack: 6 × .*rejected.csv lists each"):
        build_pack(made.source, tmp_path / "pack", 100, workers=1)
    for path in made.images.iterdir():
        path.unlink()
    with pytest.raises(SourceError, match="has none of the 6 images that the table names"):
        build_pack(made.source, tmp_path / "pack", SIZE)
    with pytest.raises(PackError, match=r"needs .* GB and the disk .* left"):
        build_pack(Endless(), tmp_path / "pack", 1_000_000)


def test_two_processes_do_not_write_the_same_pack(make_nih_folder: Callable, tmp_path: Path) -> None:
    made = make_nih_folder(40)

    def start_another(_: PackProgress) -> None:
        with pytest.raises(PackError, match="another process is writing"):
            build_pack(made.source, tmp_path / "pack", SIZE, workers=1)

    build_pack(made.source, tmp_path / "pack", SIZE, workers=1, report=start_another)


def test_a_worker_that_dies_is_an_error_and_what_is_finished_is_kept(
    make_nih_folder: Callable, tmp_path: Path
) -> None:
    made = make_nih_folder(400)

    def kill_a_worker(_: PackProgress) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, signal.SIGKILL)

    with pytest.raises(PackError, match="a worker process died"):
        build_pack(made.source, tmp_path / "pack", SIZE, workers=2, report=kill_a_worker)
    build_pack(made.source, tmp_path / "pack", SIZE, workers=2)
    Pack.open(tmp_path / "pack", verify=True)


def test_real_images(nih_mini: Path, tmp_path: Path) -> None:
    source = NihSource(
        images=nih_mini / "originals",
        labels=nih_mini / "Data_Entry_2017_v2020.csv.gz",
        train_val_list=nih_mini / "train_val_list.txt",
        test_list=nih_mini / "test_list.txt",
        boxes=nih_mini / "BBox_List_2017.csv.gz",
        subset=True,
    )
    manifest = build_pack(source, tmp_path / "pack", 128, strict=True)
    assert manifest.counts.images == 60
    pack = Pack.open(tmp_path / "pack", verify=True)
    first = np.asarray(Image.open(nih_mini / "images" / pack.index["image"][0]).reduce(2))
    assert np.abs(pack.gather(np.array([0]))[0].astype(int) - first.astype(int)).max() <= 1
    assert_array_equal(pack.gather(np.array([5, 3, 5]))[0], pack.gather(np.array([5]))[0])
