"""A trace of a few steps: every operation of host and device, for chrome://tracing or Perfetto."""

import os
import shutil
import tempfile
from pathlib import Path

from torch.profiler import ProfilerActivity, profile, record_function, schedule

from clr_hpc.store.atomic import written_whole
from clr_hpc.training.limits import RehearsedRun
from clr_hpc.training.phases import untimed

WARM_STEPS = 2
TRACED_STEPS = 5
"""A trace grows with its steps: DenseNet-121 takes 1.2 MiB for these."""


def trace_steps(rehearsed: RehearsedRun, path: Path) -> None:
    """Write a compressed trace of a few steps, with the parts of a step under their names, to ``path``."""
    activities = [ProfilerActivity.CPU]
    if rehearsed.run.device.type == "cuda":
        activities.append(ProfilerActivity.CUDA)
    # what it says of its own comings and goings is of no use here; what goes wrong is raised
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")
    plan = schedule(wait=0, warmup=WARM_STEPS, active=TRACED_STEPS, repeat=1)
    with tempfile.TemporaryDirectory() as scratch:
        trace = Path(scratch) / path.name  # its name says that it is to be compressed

        def save(profiler: profile) -> None:
            profiler.export_chrome_trace(str(trace))

        rehearsed.run.phases = record_function
        try:
            # there is one cycle, so keeping its events costs nothing; else torch warns that it drops some
            with profile(activities=activities, schedule=plan, on_trace_ready=save, acc_events=True) as profiler:
                for _ in range(WARM_STEPS + TRACED_STEPS):
                    rehearsed.step()
                    profiler.step()
        finally:
            rehearsed.run.phases = untimed
        path.parent.mkdir(exist_ok=True)
        with written_whole(path) as aside:
            shutil.copyfile(trace, aside)
