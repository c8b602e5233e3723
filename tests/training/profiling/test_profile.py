"""Where a run's time goes, as ``--profile`` says it, and that a run is the same with and without."""

import gzip
import io
import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from rich.console import Console
from tiny_run import EPOCHS, NETWORK, make_spec
from torch import nn
from trial_study import TrialStudy

from clr_hpc.cli.display.profile import profile_table
from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.profiling import limits
from clr_hpc.training.profiling.limits import DevicePeaks, StepWork, roofline, step_work
from clr_hpc.training.profiling.profile import TRACED_STEPS
from clr_hpc.training.run import RunSettings, train_run
from clr_hpc.training.timeline import PARTS, REST, Clock, Timeline, untimed

ALONE = ProcessGroup.alone(torch.device("cpu"))


def train(
    spec: RunSpec,
    pack: Pack,
    folder: Path,
    should_stop: Callable[[], bool] = lambda: False,
    with_profile: bool = True,
) -> str:
    return train_run(spec, pack, folder, ALONE, should_stop, RunSettings(0, with_profile), "test")


def profile_in(folder: Path) -> dict[str, Any]:
    profile: dict[str, Any] = json.loads((folder / "profile.json").read_text())
    return profile


@pytest.fixture(scope="module", autouse=True)
def _short_measurements() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(limits, "TURNS_SECONDS", 0.0)  # the fewest turns
        yield


@pytest.fixture(scope="module")
def profiled(tiny_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that was profiled and that nothing disturbed; it saves a checkpoint after each step."""
    folder = tmp_path_factory.mktemp("runs") / "profiled"
    assert train(make_spec(tiny_pack), tiny_pack, folder) == "done"
    return folder


def test_every_moment_of_a_run_is_in_one_part(profiled: Path) -> None:
    profile = profile_in(profiled)
    parts = profile["parts"]
    assert set(parts) == {*PARTS, REST}
    assert sum(part["seconds"] for part in parts.values()) == pytest.approx(profile["seconds"])
    assert sum(part["share"] for part in parts.values()) == pytest.approx(1)
    assert all(part["seconds"] > 0 for part in parts.values())
    result = json.loads((profiled / "result.json").read_text())
    assert profile["seconds"] > result["seconds"], "start-up and the last evaluation count as well"
    steps = result["cost"]["steps"]
    assert profile["steps"] == parts["forward"]["times"] == parts["optimizer"]["times"] == steps
    assert parts["evaluation"]["times"] > EPOCHS
    assert parts["checkpoints"]["times"] > steps


def test_a_profile_says_what_it_is_of(profiled: Path) -> None:
    profile = profile_in(profiled)
    assert profile["format_version"] == 1
    assert profile["of"] == {"start": 1, "attempt": 1, "ended": "done"}
    described = ("architecture", "image_size", "batch_size", "precision", "device", "threads", "torch")
    expected = (NETWORK, 32, 16, "float32", "cpu", torch.get_num_threads(), torch.__version__)
    assert tuple(profile[key] for key in described) == expected
    steps = sum(profile["parts"][part]["seconds"] for part in ("gather", "prepare", "forward", "backward"))
    assert 0 < profile["images_per_second"] < profile["steps"] * 16 / steps


def test_limits_hang_together(profiled: Path) -> None:
    measured = profile_in(profiled)["limits"]
    assert measured["of_bare"] == measured["bare_step_seconds"] / measured["loop_step_seconds"]
    assert measured["of_roofline"] == measured["roofline_step_seconds"] / measured["loop_step_seconds"]
    assert 0 < measured["of_roofline"] < 1
    step, peaks = measured["step"], measured["peaks"]
    times = (step["flops"] / peaks["flops_per_second"], step["bytes_moved"] / peaks["bytes_per_second"])
    assert measured["roofline_step_seconds"] == max(times)
    assert measured["bound_by"] == ("arithmetic" if times[0] > times[1] else "memory")


def test_a_trace_shows_a_few_steps_and_their_parts(profiled: Path) -> None:
    with gzip.open(profiled / profile_in(profiled)["trace"]) as file:
        events = json.load(file)["traceEvents"]
    names = [event.get("name", "") for event in events if event.get("cat") == "user_annotation"]
    assert sum(name.startswith("ProfilerStep#") for name in names) == TRACED_STEPS
    for part in ("gather", "prepare", "forward", "backward", "optimizer"):
        assert names.count(part) >= TRACED_STEPS
    assert any(event.get("name") == "aten::convolution" for event in events)


def test_a_profiled_run_leaves_the_bytes_of_one_that_is_not(
    profiled: Path, tiny_pack: Pack, tmp_path: Path
) -> None:
    plain = tmp_path / "plain"
    assert train(make_spec(tiny_pack), tiny_pack, plain, with_profile=False) == "done"
    assert not (plain / "profile.json").exists()
    assert not (plain / "profile").exists()
    patterns = ("*.safetensors", "*/*.safetensors", "predictions.parquet")
    files = [file.relative_to(plain) for pattern in patterns for file in sorted(plain.glob(pattern))]
    assert len(files) > 5, "checkpoints, the best, snapshots, their mean"
    for file in files:
        assert (profiled / file).read_bytes() == (plain / file).read_bytes(), file


@pytest.mark.commands
def test_a_profile_is_of_the_last_start(tiny_pack: Pack, tmp_path: Path) -> None:
    spec, folder = make_spec(tiny_pack), tmp_path / "run"
    assert train(spec, tiny_pack, folder, lambda: True) == "stopped"
    stopped = profile_in(folder)
    assert stopped["of"] == {"start": 1, "attempt": 1, "ended": "stopped"}
    assert (stopped["steps"], stopped["limits"], stopped["trace"]) == (1, None, None)
    assert "when the run is done" in stopped["missing"]
    assert train(spec, tiny_pack, folder) == "done"
    whole = json.loads((folder / "result.json").read_text())["cost"]["steps"]
    resumed = profile_in(folder)
    assert resumed["of"] == {"start": 2, "attempt": 1, "ended": "done"}
    assert (resumed["steps"], resumed["missing"]) == (whole - 1, None)


@pytest.mark.commands
def test_a_trace_that_cannot_be_written_is_reported_and_spoils_nothing(tiny_pack: Pack, tmp_path: Path) -> None:
    training = {"epochs": 1, "image_size": 32, "batch_size": 16}
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "profile").write_text("in the way")
    assert train(make_spec(tiny_pack, training=training), tiny_pack, tmp_path / "run") == "done"
    profile = profile_in(tmp_path / "run")
    assert profile["limits"]["of_bare"] > 0
    assert profile["trace"] is None
    assert profile["missing"].startswith("FileExistsError: ")


def test_several_processes_are_refused(tiny_pack: Pack, tmp_path: Path) -> None:
    store = torch.distributed.HashStore()
    group = ProcessGroup(0, 2, torch.device("cpu"), store)
    with pytest.raises(ValueError, match="one process trains, not 2; profile it with --on here"):
        train_run(make_spec(tiny_pack), tiny_pack, tmp_path, group, bool, RunSettings(1e9, profile=True), "test")


class LaggingClock(Clock):
    """Marks a moment a second, and reaches a mark when as many have followed as the device lags behind."""

    def __init__(self, lag: int) -> None:
        self.now, self._lag = 0, lag

    def mark(self) -> int:
        self.now += 1
        return self.now

    def is_reached(self, mark: int) -> bool:
        return self.now - mark >= self._lag

    def between(self, first: int, second: int) -> float:
        assert self.is_reached(second), "read before the device was there"
        return second - first

    def wait(self) -> None:
        self._lag = 0


@pytest.mark.parametrize("lag", [0, 5, 1000])
def test_a_timeline_of_a_device_that_lags_misses_nothing(lag: int) -> None:
    clock = LaggingClock(lag)
    timeline = Timeline(clock, started=0)
    timeline.seconds["start-up"] = 0
    for _ in range(100):
        with timeline("evaluation"), timeline("gather"):
            pass
        with timeline("forward"):
            other = threading.Thread(target=timeline, args=("gather",))
            other.start()
            other.join()
    timeline.end()
    spent = {part: seconds for part, seconds in timeline.seconds.items() if seconds}
    # a second between two marks; the first is that of the beginning
    assert spent == {"evaluation": 100, "forward": 100, REST: 201}
    assert sum(spent.values()) == clock.now - 1
    assert timeline.times == {"evaluation": 100, "forward": 100}


def test_what_is_not_profiled_shares_one_empty_block() -> None:
    assert untimed("forward") is untimed("backward")


def test_the_work_of_a_depthwise_convolution_counts_its_groups() -> None:
    """torch's own formula would count the weights' gradient four times."""
    network = nn.Sequential(nn.Conv2d(1, 4, 1, bias=False), nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False))
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
    images = torch.rand(2, 1, 8, 8)

    def loss() -> torch.Tensor:
        value: torch.Tensor = network(images).sum()
        return value

    loss().backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    work = step_work(network, optimizer, loss)
    pixels = 2 * 8 * 8
    of_first, of_second = 2 * pixels * 4, 2 * pixels * 4 * 9
    assert work.flops == 2 * of_first + 3 * of_second, "no gradient of the images is wanted"
    assert work.parameter_bytes == work.optimizer_bytes == 4 * (4 + 36)
    assert work.activation_bytes == 4 * (pixels + 4 * pixels), "what each convolution reads"
    assert work.bytes_moved == 8 * work.parameter_bytes + 2 * work.activation_bytes


def test_the_roofline_is_the_slower_of_arithmetic_and_memory() -> None:
    work = StepWork(flops=300, parameter_bytes=10, optimizer_bytes=10, activation_bytes=10)
    assert roofline(work, DevicePeaks(100, 1000, 1, 1)) == (3.0, "arithmetic")
    assert roofline(work, DevicePeaks(1000, 100, 1, 1)) == (1.0, "memory")


def test_many_runs_become_a_row_an_architecture(profiled: Path) -> None:
    one = profile_in(profiled)
    fitted = one | {"images_per_second": None, "limits": None}
    alexnets = [one | {"architecture": "alexnet", "images_per_second": float(n)} for n in range(1, 6)]
    shown = io.StringIO()
    Console(width=160, file=shown).print(profile_table([*alexnets, *[fitted] * 7]))
    rows = [line.split() for line in shown.getvalue().splitlines() if "median of" in line]
    assert [row[:5] for row in rows] == [
        ["alexnet,", "median", "of", "5", "3"],
        [f"{NETWORK},", "median", "of", "7", "–"],
    ]
    assert rows[1][-2:] == ["–", "–"]


@pytest.mark.commands
def test_the_command_shows_a_row_a_run_and_where_the_traces_lie(write_study: Callable[..., TrialStudy]) -> None:
    study = write_study(stages={"scratch": {"policies": ["constant"]}})
    ended = study.run("--profile", "--set", "training.epochs=1")
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == ""
    assert "cardiomegaly" in ended.stdout
    assert "check-" in ended.stdout
    (folder,) = study.folders()
    assert str(folder / "profile" / "trace.json.gz") in ended.stdout
    assert profile_in(folder)["limits"] is not None
    again = study.answer("--profile", "--set", "training.epochs=1")
    assert again.exit_code == 0
    assert "no run was trained" in again.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--on", "ray"), "--profile is for --on here; --on ray does not take it"),
        (("--on", "slurm"), "--profile is for --on here; --on slurm does not take it"),
        (("--cohort", "2"), "not for --cohort"),
    ],
)
def test_others_reject_profiling(
    options: tuple[str, ...], message: str, write_study: Callable[..., TrialStudy]
) -> None:
    rejected = write_study().answer("--profile", *options)
    assert rejected.exit_code == 2
    assert message in rejected.stderr
