"""All that only a GPU can answer, one after the other; what each part prints is also kept in a file.

    python benchmarks/gpu.py [--output gpu-results] [--nih FOLDER] [--only PART ...] [--dry-run]

An hour on one GPU. First the tests that need one, then a profile of a run of each network (the share of a step
that waits for data, the distance to the bare step and the roofline), then the benchmarks that have a part for
GPUs: steps, capturing and compiling, cohorts, precision, a whole study against plain scripts, and DDP where there
are several. What fails is told at the end and stops nothing. What the machine lacks (pytest, Lightning, images) is
left out.

--nih names a folder with NIH's images/, originals/ and Data_Entry_2017_v2020.csv.gz.
--dry-run does the same with the smallest sizes, with or without a GPU, to see that all parts work: ten minutes on
2 cores.
"""

import argparse
import importlib.util
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import yaml

from clr_hpc.config.network import ARCHITECTURES
from clr_hpc.data.build import usable_cores
from parts.noise import noise_pack

FOLDER = Path(__file__).resolve().parent
CLR_HPC = [sys.executable, "-m", "clr_hpc"]
PARTS = ("tests", "profile", "step", "capture", "cohort", "pack", "precision", "study", "ddp")
SPLIT = ["--validation-fraction", "0.25", "--test-fraction", "0.25"]


@dataclass(frozen=True)
class Part:
    """A command, and the name of the file that keeps what it prints."""

    name: str
    command: list[str]


def write_study(
    output: Path, name: str, pack: Path, epochs: int, networks: Sequence[str] = ARCHITECTURES, **training: object
) -> Path:
    """Write a study of one run a network, at rates that each of them bears, and return its file."""
    study = {
        "name": name,
        "pack": str(pack),
        "pathologies": ["effusion"],
        "architectures": list(networks),
        "optimizers": ["adam"],
        "rates": {"adam": {"lr_min": 0.00001, "lr_max": 0.0003}},
        "stages": {"scratch": {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}]}},
        "training": {"epochs": epochs} | training,
    }
    file = output / f"{name}.yaml"
    file.write_text(yaml.safe_dump(study))
    return file


def benchmark(name: str, *options: str) -> Part:
    """Return a script of this folder as a part."""
    return Part(name, [sys.executable, str(FOLDER / f"{name}.py"), *options])


def tests() -> list[Part]:
    """Return the tests that need a GPU."""
    if importlib.util.find_spec("pytest") is None:
        return []
    return [Part("tests", [sys.executable, "-m", "pytest", "-rs", str(FOLDER.parent / "tests" / "test_gpu.py")])]


def profile(study: Path) -> Part:
    """Return a profiled study."""
    results = ["--results", str(study.parent / "results")]
    return Part("profile", [*CLR_HPC, "run", str(study), "--profile", "--no-plan", *results])


def step(nih: Path | None, *options: str) -> Part:
    """Return the benchmark of steps, with the peer that reads files where there are files."""
    if nih is None or importlib.util.find_spec("lightning") is None:
        return benchmark("step", *options, "--no-lightning")
    return benchmark("step", *options, "--originals", str(nih / "originals"))


def parts(output: Path, nih: Path | None) -> list[Part]:
    """Return what is to be run, in order, and write the studies that it needs."""
    profiled = write_study(
        output, "profiled", output / "noise", 1, image_size=224, batch_size=256, precision="bfloat16"
    )
    made = [*tests(), profile(profiled), step(nih), benchmark("capture"), benchmark("cohort")]
    if nih is None:
        made.append(benchmark("precision", "--results", str(output / "precision")))
    else:
        pack = output / "nih"
        compared = write_study(output, "precision", pack, 10, image_size=64, batch_size=32)
        labels = nih / "Data_Entry_2017_v2020.csv.gz"
        sources = ["--images", str(nih / "images"), "--labels", str(labels), "--subset", "--size", "64"]
        made.append(Part("pack", [*CLR_HPC, "pack", "nih", *sources, *SPLIT, "--output", str(pack)]))
        made.append(benchmark("precision", str(compared), "--results", str(output / "precision")))
        # enough epochs that starting up, which a real study does once as well, weighs little
        long = ["--films", "2000", "--epochs", "10", "--peers", "plain", "lightning"]
        made.append(benchmark("study", "--originals", str(nih / "originals"), *long))
    return [*made, *([benchmark("ddp")] if torch.cuda.device_count() > 1 else [])]


def small_parts(output: Path, nih: Path | None) -> list[Part]:
    """Return the same on the smallest sizes."""
    profiled = write_study(output, "profiled", output / "noise", 1, image_size=64, batch_size=16)
    once = ["--turns", "1", "--steps", "1", "--batch", "8"]
    made = [
        *tests(),
        profile(profiled),
        step(nih, "--sizes", "64", *once),
        benchmark("capture", "--settings", "64x8xfloat32"),
        benchmark("cohort", "--dry-run"),
    ]
    # a CPU takes 11 to 27 times as long for a step in bfloat16
    compared = write_study(
        output, "precision", output / "noise", 1, ["mobilenet_v1"], image_size=64, batch_size=80
    )
    made.append(benchmark("precision", str(compared), "--seeds", "1", "--results", str(output / "precision")))
    if nih is not None:
        few = ["--films", "120", "--epochs", "1", "--of-14", "1"]
        made.append(benchmark("study", "--originals", str(nih / "originals"), *few))
    return [*made, benchmark("ddp", *once)]


def run(part: Part, output: Path) -> int:
    """Run a part, show what it prints as it comes, keep it in a file, and return its exit status."""
    print(f"== {part.name}: {' '.join(part.command)}", flush=True)
    wide = os.environ | {"COLUMNS": "115"}  # of tables, which are 80 where nobody looks at them
    with (output / f"{part.name}.txt").open("w") as file:
        process = subprocess.Popen(
            part.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=wide
        )
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            file.write(line)
    return process.wait()


def main() -> None:
    """Run all parts, and exit with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, default=Path("gpu-results"), help="a new folder")
    parser.add_argument("--nih", type=Path, help="real images, for precision and the peers that read files")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=PARTS, help="those that the machine lacks nothing for"
    )
    parser.add_argument("--dry-run", action="store_true", help="the smallest sizes, on whatever there is")
    options = parser.parse_args()
    if not (torch.cuda.is_available() or options.dry_run):
        parser.error("no GPU is visible to torch; --dry-run does the same in small on a CPU")
    output: Path = options.output.resolve()
    if output.exists():
        parser.error(f"{output} is there already; name a new folder with --output")
    output.mkdir(parents=True)
    started = time.monotonic()
    made = (small_parts if options.dry_run else parts)(output, options.nih)
    images, size = (200, 64) if options.dry_run else (20_000, 224)
    noise_pack(output / "noise", images, size, workers=usable_cores())
    chosen = [part for part in made if part.name in options.only]
    failed = [part.name for part in chosen if run(part, output) != 0]
    print(f"{(time.monotonic() - started) / 60:.0f} minutes; what was printed lies in {output}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
