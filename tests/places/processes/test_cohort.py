"""The law of cohorts: a run that is trained beside others ends with the same bytes as alone."""

import json
import signal
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import tiny_run
import torch
from trial_study import wait_until

from clr_hpc.config.optimizer import Adagrad, Adam, RmsProp
from clr_hpc.config.policy import Constant, Cosine, Triangular
from clr_hpc.config.run import RunSpec
from clr_hpc.data.build import build_pack
from clr_hpc.data.pack import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.data.splits import SeededSplit
from clr_hpc.places.processes.cohort import CohortRun, ready_cohorts, train_cohort
from clr_hpc.places.queue import ListedRuns
from clr_hpc.store.run_folder import read_metrics
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.round_robin import RoundRobinLock, own_seconds
from clr_hpc.training.run import RunSettings, train_run

WORLD = ProcessGroup.alone(torch.device("cpu"))
WAVE = Triangular(lr_min=0.001, lr_max=0.02, half_cycle_epochs=0.5, momentum_min=0.8, momentum_max=0.95)


@pytest.fixture(scope="module")
def pack(tmp_path_factory: pytest.TempPathFactory) -> Pack:
    """60 phantom films at 64 × 64, of which some 36 are trained on."""
    folder = tmp_path_factory.mktemp("packs") / "few"
    split = SeededSplit(validation_fraction=0.3, test_fraction=0.1)
    build_pack(PhantomSource(images=60), folder, 64, split, workers=1)
    return Pack.open(folder)


pytestmark = pytest.mark.usefixtures("one_thread")


def make_spec(pack: Pack, architecture: str = tiny_run.NETWORK, **changes: object) -> RunSpec:
    training = {"batch_size": 12} | dict(changes.pop("training", {}))  # type: ignore[call-overload]
    return tiny_run.make_spec(pack, training, **{"architecture": architecture, "policy": WAVE} | changes)


def cohort_of(architecture: str, pack: Pack) -> list[RunSpec]:
    """Return runs that differ in all in which runs of a cohort may; together they have every optimizer."""
    if architecture == "alexnet":  # has dropout
        short = {"epochs": 1, "image_size": 64, "batch_size": 16}
        return [
            make_spec(pack, architecture, seed=3, training=short),
            make_spec(
                pack,
                architecture,
                seed=4,
                optimizer=Adagrad(),
                policy=Cosine(lr_min=0, lr_max=1e-3, total_epochs=1),
                training=short,
            ),
        ]
    if architecture == "densenet121":
        short = {"epochs": 1, "batch_size": 16}
        return [
            make_spec(
                pack, architecture, seed=5, optimizer=RmsProp(), policy=Constant(lr_max=1e-4), training=short
            ),
            make_spec(pack, architecture, seed=6, optimizer=Adam(), policy=Constant(lr_max=1e-3), training=short),
        ]
    stops_early = {"epochs": 30, "batch_size": 16, "early_stop_epochs": 1}
    other = {"kind": "binary", "pathology": "effusion"}
    balanced = {"class_imbalance": "balanced_sampling"}
    return [
        make_spec(pack),
        make_spec(pack, seed=1, task=other, optimizer=Adam(), policy=Constant(lr_max=1e-3), training=balanced),
        make_spec(pack, seed=2, optimizer=RmsProp(), policy=Constant(lr_max=1e-12), training=stops_early),
        make_spec(
            pack,
            optimizer=Adagrad(),
            policy=Cosine(lr_min=0, lr_max=0.01, total_epochs=2),
            training={"batch_size": 8},
        ),
    ]


def never() -> bool:
    return False


def after(steps: int) -> Callable[[], bool]:
    """Return what says so from the ``steps``-th step on; a cohort asks once before the first."""
    asked = count(0)
    return lambda: next(asked) >= steps


def train(specs: list[RunSpec], pack: Pack, folder: Path, *stops: Callable[[], bool]) -> list[str]:
    stops = stops or tuple(never for _ in specs)
    runs = [CohortRun(spec, folder / spec.name, stop) for spec, stop in zip(specs, stops, strict=True)]
    folder.mkdir(exist_ok=True)
    return list(train_cohort(runs, pack, WORLD, RunSettings(1e9), "test"))


def alone(specs: list[RunSpec], pack: Pack, folder: Path) -> list[str]:
    folder.mkdir(exist_ok=True)
    for spec in specs:
        assert train_run(spec, pack, folder / spec.name, WORLD, never, RunSettings(1e9), "test") == "done"
    return checksums(specs, folder)


def checksums(specs: list[RunSpec], folder: Path) -> list[str]:
    return [result(spec, folder)["checkpoint_sha256"] for spec in specs]


def result(spec: RunSpec, folder: Path) -> dict[str, str]:
    return json.loads((folder / spec.name / "result.json").read_text())


@pytest.fixture(scope="module")
def runs_alone(pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the checkpoints of the cohort are when each run is trained alone."""
    torch.set_num_threads(1)
    return alone(cohort_of(tiny_run.NETWORK, pack), pack, tmp_path_factory.mktemp("runs") / "alone")


def test_each_ends_with_the_bytes_of_the_run_alone_whatever_becomes_of_the_others(
    runs_alone: list[str], pack: Pack, tmp_path: Path
) -> None:
    specs = cohort_of(tiny_run.NETWORK, pack)
    diverges = make_spec(pack, policy=Constant(lr_max=1e38))
    raises = make_spec(pack, training={"image_size": 96})
    outcomes = train([diverges, *specs, raises], pack, tmp_path)
    assert outcomes == ["failed", *("done" for _ in specs), "failed"]
    assert checksums(specs, tmp_path) == runs_alone
    assert "lower lr_max" in result(diverges, tmp_path)["reason"]
    assert "image_size=96 is larger" in result(raises, tmp_path)["reason"]
    assert [result(spec, tmp_path)["stopped_early"] for spec in specs] == [False, False, True, False]


@pytest.mark.commands
@pytest.mark.parametrize("architecture", ["alexnet", "densenet121"])
@pytest.mark.usefixtures("thin_alexnet")
def test_other_networks_end_with_the_bytes_of_the_run_alone(architecture: str, pack: Pack, tmp_path: Path) -> None:
    specs = cohort_of(architecture, pack)
    assert train(specs, pack, tmp_path / "cohort") == ["done", "done"]
    assert checksums(specs, tmp_path / "cohort") == alone(specs, pack, tmp_path / "alone")


def test_stopped_one_by_one_and_gone_on_ends_in_the_same_bytes(
    runs_alone: list[str], pack: Pack, tmp_path: Path
) -> None:
    specs = cohort_of(tiny_run.NETWORK, pack)
    stops = (after(3), after(1), never, after(0))
    assert train(specs, pack, tmp_path, *stops) == ["stopped", "stopped", "done", "stopped"]
    assert not (tmp_path / specs[3].name).exists(), "it was stopped before its first step"
    assert train(specs, pack, tmp_path) == ["done"] * 4
    assert checksums(specs, tmp_path) == runs_alone


def test_a_cohorts_seconds_add_up_to_those_of_its_process(pack: Pack, tmp_path: Path) -> None:
    specs = [make_spec(pack, seed=seed, training={"epochs": 1}) for seed in range(3)]
    before = own_seconds()
    assert train(specs, pack, tmp_path) == ["done"] * 3
    whole = own_seconds() - before
    assert 0 < sum(read_metrics(tmp_path / spec.name)[-1]["elapsed_seconds"] for spec in specs) <= whole


def test_the_keyboard_saves_all(pack: Pack, tmp_path: Path) -> None:
    specs = [make_spec(pack, seed=seed, training={"epochs": 500}) for seed in range(2)]

    pressed = count()

    def interrupt() -> bool:
        if all((tmp_path / spec.name / "metrics.jsonl").exists() for spec in specs) and next(pressed) == 0:
            signal.raise_signal(signal.SIGINT)
        return False

    with pytest.raises(KeyboardInterrupt):
        train(specs, pack, tmp_path, interrupt, never)
    for spec in specs:
        assert list((tmp_path / spec.name / "checkpoints").glob("*.sha256"))


def test_turns_go_round_one_at_a_time_and_a_thread_that_raises_passes_on() -> None:
    turns, order, working = RoundRobinLock(), list[int](), list[int]()

    def work(number: int) -> None:
        with turns:
            for _ in range(20):
                working.append(number)
                order.append(number)
                assert working == [number], "another works at the same time"
                working.remove(number)
                if number == 1 and order.count(1) == 5:
                    raise InterruptedError
                turns.yield_to_others()

    with ThreadPoolExecutor(3) as threads:
        with turns:  # until all wait
            endings = [threads.submit(work, number) for number in range(3)]
            wait_until(lambda: len(turns._waiting) == 3, "three threads to wait")
        errors = [ending.exception(timeout=60) for ending in endings]
    assert [type(error) for error in errors] == [type(None), InterruptedError, type(None)]
    assert order[:15] == order[:3] * 5
    assert [order.count(number) for number in range(3)] == [20, 5, 20]


def test_processes_share_out_what_is_ready_by_shape(pack: Pack) -> None:
    mobile = [make_spec(pack, seed=seed) for seed in range(5)]
    other = [make_spec(pack, seed=seed, training={"image_size": 64}) for seed in range(2)]
    runs = [*mobile[:3], *other, *mobile[3:]]

    def cohorts(under_way: list[RunSpec], free: int, processes: int, most: int) -> list[list[RunSpec]]:
        found, _ = ready_cohorts(ListedRuns(runs), under_way, free, processes, most)
        return [[assignment.spec for assignment in cohort] for cohort in found]

    assert cohorts([], 2, 2, 1) == [[mobile[0]], [mobile[1]]], "as without cohorts"
    assert cohorts([], 1, 1, 14) == [mobile]
    assert cohorts([], 1, 1, 3) == [mobile[:3]]
    assert cohorts([], 2, 2, 14) == [mobile[:4], other], "seven are ready"
    assert cohorts(mobile, 1, 2, 14) == [other[:1]]
    assert cohorts(runs, 2, 2, 14) == []
    assert cohorts([], 0, 2, 14) == []
