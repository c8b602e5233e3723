"""How fast the training loop is, against a bare torch loop on tensors and against Lightning over PNG files.

    python benchmarks/step.py [--originals FOLDER_WITH_NIH_PNGS]

Three minutes on 2 cores; Lightning needs the extra: pip install -e '.[benchmarks]'. All three train MobileNetV1 at
64 × 64 in batches of 32 with SGD and momentum, on the same number of threads.

- ours: pack, gather, conversion, augmentation, the policy's rate, records in the run folder
- bare: the same network, memory layout and optimizer on float tensors that are there already, no augmentation
- Lightning: Trainer and DataLoader as their documentation shows them, decoding PNG files of 1024 × 1024 pixels

Ours must reach 0.95 of bare and 3.5 × Lightning. Ours and bare take turns, so that a noisy machine hits both.
"""

import argparse
import itertools
import logging
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from clr_hpc.data.pack import build_pack
from clr_hpc.data.packed import Pack
from clr_hpc.data.sources.phantom import PhantomSource
from clr_hpc.models.backbones import build_backbone
from clr_hpc.spec.optimizer import Sgd
from clr_hpc.spec.policy import Triangular
from clr_hpc.spec.run import Initialisation, RunSpec, Training
from clr_hpc.spec.task import BinaryTask
from clr_hpc.training.environment import describe_environment
from clr_hpc.training.prepared_run import PreparedRun
from clr_hpc.training.run_folder import RunFolder
from clr_hpc.training.step_log import StepLog
from clr_hpc.training.world import World

SIZE, BATCH = 64, 32
STEPS_A_TURN, TURNS = 15, 12
CPU = torch.device("cpu")
Steps = Callable[[int], None]


def ours(pack: Pack, folder: Path) -> Steps:
    """Train as ``clr_hpc.training.loop`` does between two evaluations."""
    spec = RunSpec(
        pack_checksum=pack.manifest.checksum,
        task=BinaryTask(pathology="effusion"),
        stage="scratch",
        architecture="mobilenet_v1",
        optimizer=Sgd(),
        policy=Triangular(lr_min=0.001, lr_max=0.01, half_cycle_epochs=1),
        training=Training(epochs=1000, batch_size=BATCH, image_size=SIZE),
    )
    run = PreparedRun(spec, pack, World.alone(CPU))
    run_folder = RunFolder(folder).open(spec, describe_environment(CPU), "benchmark")
    run.make_ready(rate_factor=1.0)
    log = StepLog(run, run_folder, run_folder.resume_at(0))
    samples = 0

    def steps(count: int) -> None:
        nonlocal samples
        for _ in range(count):
            lr, momentum = run.set_rate(run.epochs(samples))
            loss = run.step(samples)
            samples += run.batch_size
            log.step(samples, loss, lr, momentum)

    return steps


def bare() -> Steps:
    """Train on tensors that are there already."""
    network = build_backbone("mobilenet_v1", 1, Initialisation(), seed=0).to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, fused=True)
    images = torch.randn(BATCH * 16, 1, SIZE, SIZE).to(memory_format=torch.channels_last)
    labels = torch.randint(0, 2, (len(images),)).float()
    batches = itertools.cycle(zip(images.split(BATCH), labels.split(BATCH), strict=True))

    def steps(count: int) -> None:
        for _ in range(count):
            batch, wanted = next(batches)
            loss = binary_cross_entropy_with_logits(network(batch).squeeze(1), wanted)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()

    return steps


class PngFolder(torch.utils.data.Dataset[tuple[Tensor, Tensor]]):
    """Images decoded each time they are seen, as a torchvision folder does."""

    def __init__(self, files: list[Path], length: int) -> None:
        self.files, self.length = files, length

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.open(self.files[index % len(self.files)]).convert("L").resize((SIZE, SIZE))
        return torch.from_numpy(np.asarray(image) / np.float32(255)).unsqueeze(0), torch.tensor(float(index % 2))


def lightning_images_per_second(files: list[Path]) -> float:
    """Train one epoch by Lightning over PNG files; return images a second without the first ten steps."""
    import lightning

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.ERROR)

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network: nn.Module = build_backbone("mobilenet_v1", 1, Initialisation(), seed=0)
            self.times: list[float] = []

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            self.times.append(time.perf_counter())
            return binary_cross_entropy_with_logits(self.network(batch[0]).squeeze(1), batch[1])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)

    steps = 50
    loader = torch.utils.data.DataLoader(
        PngFolder(files, steps * BATCH), BATCH, shuffle=True, num_workers=torch.get_num_threads()
    )
    model = Classifier()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
            enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(model, loader)
    # workers fetch ahead while the first steps run, so those are left out
    return (len(model.times) - 11) * BATCH / (model.times[-1] - model.times[10])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = Path(__file__).parents[2] / "shared" / "data" / "nih-mini" / "originals"
    parser.add_argument("--originals", type=Path, default=default, help="folder of 1024 × 1024 PNG files")
    files = sorted(parser.parse_args().originals.glob("*.png"))
    with tempfile.TemporaryDirectory() as folder:
        build_pack(PhantomSource(images=1000), Path(folder) / "pack", SIZE)
        contestants = {"ours": ours(Pack.open(Path(folder) / "pack"), Path(folder) / "run"), "bare": bare()}
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        for turn in range(TURNS + 1):
            for name, steps in contestants.items():
                start = time.perf_counter()
                steps(STEPS_A_TURN)
                if turn > 0:  # the first turn warms up
                    seconds[name].append(time.perf_counter() - start)
    speeds = {name: STEPS_A_TURN * BATCH / statistics.median(turns) for name, turns in seconds.items()}
    pairs = [theirs / own for own, theirs in zip(seconds["ours"], seconds["bare"], strict=True)]
    table = Table(title=f"Training MobileNetV1, {SIZE} × {SIZE}, batch {BATCH}, {torch.get_num_threads()} threads")
    for heading in ("loop", "images/s", "ours is", "at least"):
        table.add_column(heading, justify="right")
    table.add_row("ours", f"{speeds['ours']:.0f}", "1", "")
    table.add_row("bare, on tensors", f"{speeds['bare']:.0f}", f"{statistics.median(pairs):.2f} ×", "0.95 ×")
    if files:
        speeds["Lightning"] = lightning_images_per_second(files)
        ratio = f"{speeds['ours'] / speeds['Lightning']:.1f} ×"
        table.add_row("Lightning, over PNG", f"{speeds['Lightning']:.0f}", ratio, "3.5 ×")
    Console().print(table)
    if not files:
        print("Lightning over PNG files: not measured, since --originals holds no .png file")


if __name__ == "__main__":
    main()
