"""Fixtures that all tests share: where the real images are, and a small pack."""

import gc
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from hypothesis import settings
from invented_study import InventedStudy
from made_once import made_once
from trial_study import TrialStudy

from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.splits import SeededSplit

# one thread a process: the tensors are small, and threads of several processes get in each other's way
assert "torch" not in sys.modules, "torch reads the number of threads when it is imported; import it in fixtures"
os.environ.setdefault("OMP_NUM_THREADS", "1")

# no test cuts the power, and what a killed process wrote is the kernel's to keep;
# an atomic write would wait for the disk for two thirds of its time
os.fsync = lambda _: None

# the collector would go through all modules again and again, for a fifteenth of the time
gc.set_threshold(100_000, 50, 100)

# a shell that starts the tests in the background has them, and all that they start, ignore Ctrl-C
signal.signal(signal.SIGINT, signal.default_int_handler)

# no deadline: a first example may also pay for torch's first step, some seconds
settings.register_profile("exploring", deadline=None)
# the same examples each time: a change fails for what it changed; --hypothesis-profile exploring draws others
settings.register_profile("repeatable", deadline=None, derandomize=True)
# what tests of damaged files draw few of, since each example writes a report: some minutes for each format
settings.register_profile("thorough", deadline=None, derandomize=True, max_examples=200)
settings.load_profile("repeatable")

REPOSITORY = Path(__file__).parents[1]


def pytest_collection_finish() -> None:
    """Spare the collector what is there for good: modules and tests."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def repository() -> Path:
    """The project's root."""
    return REPOSITORY


@pytest.fixture(scope="session")
def nih_mini() -> Path:
    """Real images of NIH ChestX-ray14: a folder with ``images/``, ``originals/`` and NIH's tables."""
    data = Path(os.environ.get("CLR_HPC_TEST_DATA", REPOSITORY.parent / "shared" / "data"))
    folder = data / "nih-mini"
    if not folder.is_dir():
        pytest.skip(f"no real images: {folder} is not there; set CLR_HPC_TEST_DATA to a folder with nih-mini/")
    return folder


@pytest.fixture(scope="session")
def small_pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """200 phantom films at 64 × 64."""

    def build(folder: Path) -> None:
        split = SeededSplit(validation_fraction=0.3, test_fraction=0.1)
        build_pack(PhantomSource(images=200), folder / "phantom", 64, split, workers=1)

    return Pack.open(made_once(tmp_path_factory, "packs", build) / "phantom")


@pytest.fixture
def write_study(small_pack: Pack, tmp_path: Path) -> Callable[..., TrialStudy]:
    """Return a function that writes a study of two short runs on the small pack, with changes."""
    return lambda **changes: TrialStudy.write(tmp_path, **{"pack": str(small_pack.folder), **changes})


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Let torch compute with one thread, also where OMP_NUM_THREADS says otherwise, so that bytes are the same."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def thin_alexnet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ``alexnet`` name a network with few weights."""
    from thin_alexnet import use_thin_alexnet

    use_thin_alexnet(monkeypatch)


@pytest.fixture(scope="session")
def study_in() -> type[InventedStudy]:
    """Return what makes, in a folder, a study of two findings with retraining; keywords change its file."""
    return InventedStudy


@pytest.fixture
def invent_study(study_in: type[InventedStudy], tmp_path: Path) -> Callable[..., InventedStudy]:
    """Return the same for the test's own folder."""
    return partial(study_in, tmp_path)
