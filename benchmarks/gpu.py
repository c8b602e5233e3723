"""All that only a GPU can answer, one after the other; the output of each part is also kept in a file.

    python benchmarks/gpu.py [--output gpu-results] [--nih FOLDER] [--only PART ...] [--dry-run]

An hour on one GPU: the tests that need one, a profile of a run of each network (the share of a step that waits for
data, the distance to the bare step and the roofline), and the benchmarks that have a part for GPUs. A failure is
reported at the end and stops nothing. Parts that the machine lacks something for (pytest, Lightning, images) are
left out.

--nih names a folder with NIH's images/, originals/ and Data_Entry_2017_v2020.csv.gz.
--dry-run does the same with the smallest sizes, with or without a GPU: ten minutes on 2 cores.
"""

import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import torch

from clr_hpc.data.build import usable_cores
from parts.command import OF_THE_ARTICLE, parser, write_study
from parts.noise import noise_pack
from parts.processes import CLR_HPC

FOLDER = Path(__file__).resolve().parent
PARTS = ("tests", "profile", "step", "capture", "cohort", "pack", "precision", "study", "ddp")


def study(output: Path, name: str, pack: str, networks: tuple[str, ...], **training: object) -> str:
    """Write a study of one run per network, at rates that suit each of them, and return its file."""
    stages = {"scratch": {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}]}}
    changes = {"architectures": list(networks), "optimizers": ["adam"], "stages": stages}
    return str(write_study(output / f"{name}.yaml", output / pack, training, lr_max=0.0003, **changes))


def benchmark(name: str, *options: str) -> list[str]:
    """Return the command of a script of this folder."""
    return [sys.executable, str(FOLDER / f"{name}.py"), *options]


def commands(output: Path, nih: Path | None, small: bool) -> dict[str, list[str]]:
    """Return the parts in order, by name, and write the studies that they need."""
    sizes = {"image_size": 64, "batch_size": 16} if small else {"image_size": 224, "batch_size": 256}
    sizes |= {} if small else {"precision": "bfloat16"}
    profiled = study(output, "profiled", "noise", OF_THE_ARTICLE, epochs=1, **sizes)
    once = ["--turns", "1", "--steps", "1", "--batch", "8"] if small else []
    precision = ["--results", str(output / "precision")]
    step = ["--sizes", "64", *once] if small else []
    step += ["--originals", str(nih / "originals")] if nih and find_spec("lightning") else ["--no-lightning"]
    made = {
        "tests": [sys.executable, "-m", "pytest", "-rs", str(FOLDER.parent / "tests" / "test_gpu.py")],
        "profile": [
            *CLR_HPC,
            "run",
            profiled,
            "--profile",
            "--no-plan",
            "--results",
            str(output / "results"),
        ],
        "step": benchmark("step", *step),
        "capture": benchmark("capture", *(["--settings", "64x8xfloat32"] if small else [])),
        "cohort": benchmark("cohort", *(["--dry-run"] if small else [])),
    }
    if not find_spec("pytest"):
        del made["tests"]
    if small:  # a CPU takes 11 to 27 times as long for a step in bfloat16
        few = {"epochs": 1, "image_size": 64, "batch_size": 80}
        precision = [
            study(output, "precision", "noise", ("mobilenet_v1",), **few),
            "--seeds",
            "1",
            *precision,
        ]
    elif nih:
        labels = nih / "Data_Entry_2017_v2020.csv.gz"
        sources = ["--images", str(nih / "images"), "--labels", str(labels), "--subset", "--size", "64"]
        split = ["--validation-fraction", "0.25", "--test-fraction", "0.25", "--output", str(output / "nih")]
        made["pack"] = [*CLR_HPC, "pack", "nih", *sources, *split]
        many = {"epochs": 10, "image_size": 64, "batch_size": 32}
        precision = [study(output, "precision", "nih", OF_THE_ARTICLE, **many), *precision]
    made["precision"] = benchmark("precision", *precision)
    if nih:  # enough epochs that starting up, which a real study does once as well, weighs little
        few_films = ["--films", "120", "--epochs", "1", "--of-14", "1"]
        many_films = ["--films", "2000", "--epochs", "10", "--peers", "plain", "lightning"]
        originals = ["--originals", str(nih / "originals")]
        made["study"] = benchmark("study", *originals, *(few_films if small else many_films))
    if small or torch.cuda.device_count() > 1:
        made["ddp"] = benchmark("ddp", *once)
    return made


def run(name: str, command: list[str], output: Path) -> int:
    """Run a part, show its output as it comes, keep it in a file, and return its exit status."""
    print(f"== {name}: {' '.join(command)}", flush=True)
    wide = os.environ | {"COLUMNS": "115"}  # of tables, which are 80 where there is no terminal
    with (output / f"{name}.txt").open("w") as file:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=wide)
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            file.write(line)
    return process.wait()


def main() -> None:
    """Run all parts, and exit with 1 if one failed."""
    command = parser(__doc__)
    command.add_argument("--output", type=Path, default=Path("gpu-results"), help="a new folder")
    command.add_argument("--nih", type=Path, help="real images, for precision and the peers that read files")
    command.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="default: all possible here")
    command.add_argument("--dry-run", action="store_true", help="the smallest sizes, on any hardware")
    options = command.parse_args()
    if not (torch.cuda.is_available() or options.dry_run):
        command.error("no GPU is visible to torch; --dry-run does the same in small on a CPU")
    output: Path = options.output.resolve()
    if output.exists():
        command.error(f"{output} exists; name a new folder with --output")
    output.mkdir(parents=True)
    started = time.monotonic()
    made = commands(output, options.nih, options.dry_run)
    images, size = (200, 64) if options.dry_run else (20_000, 224)
    noise_pack(output / "noise", images, size, workers=usable_cores())
    failed = [name for name, part in made.items() if name in options.only and run(name, part, output) != 0]
    print(f"{(time.monotonic() - started) / 60:.0f} minutes; the outputs are in {output}")
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
