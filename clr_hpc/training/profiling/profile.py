"""Profile of a run (``--profile``): where its time went, its distance from the limits, a trace of steps.

The format of ``profile.json`` is that of docs/reference/profile.md.
"""

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile, record_function, schedule

from clr_hpc.config.run import RunSpec
from clr_hpc.data.pack import Pack
from clr_hpc.store import layout
from clr_hpc.store.atomic import atomic_write, write_json
from clr_hpc.store.records import required
from clr_hpc.store.run_files import read_environments
from clr_hpc.store.run_folder import RunFolder
from clr_hpc.training.data import make_sampler, task_data
from clr_hpc.training.distributed import ProcessGroup
from clr_hpc.training.profiling.limits import RehearsedTrainer, measure_limits
from clr_hpc.training.timeline import PARTS, REST, Part, Timeline, untimed
from clr_hpc.training.trainer import Trainer

WARM_STEPS = 2
TRACED_STEPS = 5
"""A trace grows with its steps: DenseNet-121 takes 1.2 MiB for these."""


def trace_steps(rehearsed: RehearsedTrainer, path: Path) -> None:
    """Write a compressed trace of a few steps, with the parts of a step under their names, to ``path``."""
    activities = [ProfilerActivity.CPU]
    if rehearsed.trainer.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    # its own log is of no use here; errors are raised
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    plan = schedule(wait=0, warmup=WARM_STEPS, active=TRACED_STEPS, repeat=1)
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) / path.name  # compressed because of its name

        def save(profiler: profile) -> None:
            profiler.export_chrome_trace(str(trace))

        rehearsed.trainer.step.timeline = record_function
        try:
            # there is one cycle, so keeping its events costs nothing; else torch warns that it drops some
            with profile(activities=activities, schedule=plan, on_trace_ready=save, acc_events=True) as profiler:
                for _ in range(WARM_STEPS + TRACED_STEPS):
                    rehearsed.step()
                    profiler.step()
        finally:
            rehearsed.trainer.step.timeline = untimed
        path.parent.mkdir(exist_ok=True)
        with atomic_write(path) as temporary:
            shutil.copyfile(trace, temporary)


FORMAT_VERSION = 1
STEP_PARTS: tuple[Part, ...] = ("gather", "prepare", "forward", "backward", "optimizer")


class Profile:
    """The profile of one attempt at a run."""

    def __init__(
        self, spec: RunSpec, pack: Pack, folder: RunFolder, group: ProcessGroup, attempt: int, started: float
    ) -> None:
        """Begin the timeline.

        Args:
            spec: of the run.
            pack: what it is trained on.
            folder: of the run.
            group: of one process.
            attempt: counts from 0 since the run was started or resumed; a recovery begins another.
            started: start of the attempt by ``time.perf_counter``.

        Raises:
            ValueError: several processes train the run.
        """
        if group.size > 1:
            raise ValueError(
                f"a profile is of a run that one process trains, not {group.size}; profile it with --on here"
            )
        self._spec, self._pack, self._folder, self._group = spec, pack, folder, group
        self._attempt = attempt
        self.timeline = Timeline.of(group.device, started)

    def write_stopped(self) -> None:
        """Write the profile of a run that was stopped; its limits are measured when it is done."""
        self.timeline.end()
        self._write("stopped", _Rehearsal(missing="limits and trace are for when the run is done"))

    def write_done(self, micro_batches: int, should_stop: Callable[[], bool]) -> None:
        """Write the profile of a run that is done, and measure its limits and the trace on a second one like it.

        Errors of the measurement go into the profile; the run is done already.

        Args:
            micro_batches: parts that the run's batches were trained in.
            should_stop: called first; where it returns True, limits and trace are left out.
        """
        self.timeline.end()
        rehearsal = _Rehearsal()
        if should_stop():
            rehearsal.missing = "limits and trace: asked to stop"
        else:
            try:
                self._rehearse(rehearsal, micro_batches)
            except Exception as error:  # memory, the disk, the profiler
                rehearsal.missing = f"{type(error).__name__}: {error}"
        self._write("done", rehearsal)

    def _rehearse(self, rehearsal: "_Rehearsal", micro_batches: int) -> None:
        trainer = Trainer(self._spec, self._pack, self._group, micro_batches)
        if trainer.optimizer is None:
            rehearsal.missing = "limits and trace: the model is fitted and takes no steps"
            return
        rehearsed = RehearsedTrainer(trainer)
        rehearsal.limits = measure_limits(rehearsed)
        trace_steps(rehearsed, self._folder.path / layout.TRACE)
        rehearsal.trace = layout.TRACE.as_posix()

    def _write(self, ended: str, rehearsal: "_Rehearsal") -> None:
        seconds, times = self.timeline.seconds, self.timeline.times
        total, spec, device = sum(seconds.values()), self._spec, self._group.device
        batch_size = make_sampler(spec, task_data(spec, self._pack).training).batch_size
        step_seconds = sum(seconds[part] for part in STEP_PARTS)
        steps = times["optimizer"]
        starts = required(read_environments(self._folder.path)) or ()
        self._folder.confirm_lease()
        write_json(
            self._folder.path / layout.PROFILE,
            {
                "format_version": FORMAT_VERSION,
                "of": {
                    "start": len(starts),
                    "attempt": self._attempt + 1,
                    "ended": ended,
                },
                "task": spec.task.name,
                "architecture": spec.architecture,
                "optimizer": spec.optimizer.name,
                "image_size": spec.training.image_size,
                "batch_size": batch_size,
                "precision": spec.training.precision,
                "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
                "threads": torch.get_num_threads(),
                "torch": str(torch.__version__),
                "seconds": total,
                "steps": steps,
                "images_per_second": steps * batch_size / step_seconds if steps else None,
                "parts": {
                    part: {"seconds": seconds[part], "share": seconds[part] / total, "times": times[part]}
                    for part in (*PARTS, REST)
                },
                **asdict(rehearsal),
            },
        )


@dataclass
class _Rehearsal:
    """Measurements made after the run."""

    limits: dict[str, Any] | None = None
    trace: str | None = None
    missing: str | None = None
    """Reason why limits or trace are missing."""
