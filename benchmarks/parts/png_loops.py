"""Training from PNG files, decoded each epoch as scripts usually do: plain torch, Lightning, Ray Train."""

import contextlib
import logging
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset

from clr_hpc.data.build import usable_cores
from parts.loops import LEARNING_RATE, MOMENTUM, Setting

Loader = DataLoader[tuple[Tensor, Tensor]]


class PngFiles(Dataset[tuple[Tensor, Tensor]]):
    """Labelled images decoded each time they are seen, as a torchvision folder does."""

    def __init__(
        self, files: Sequence[Path], labels: Sequence[float], size: int, resampling: int = Image.Resampling.BICUBIC
    ) -> None:
        self.files, self.labels = files, np.asarray(labels, np.float32)
        self.size, self.resampling = (size, size), resampling

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.open(self.files[index]).convert("L").resize(self.size, self.resampling)
        pixels = torch.from_numpy(np.asarray(image) / np.float32(255))
        return pixels.unsqueeze(0), torch.tensor(self.labels[index])


def train_plainly(setting: Setting, loader: Loader, network: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Train for one epoch."""
    for images, labels in loader:
        optimizer.zero_grad()
        with setting.autocast():
            outputs = network(images.to(setting.device, non_blocking=True)).squeeze(1)
        binary_cross_entropy_with_logits(outputs.float(), labels.to(setting.device, non_blocking=True)).backward()
        optimizer.step()


def sgd(network: nn.Module) -> torch.optim.SGD:
    """Return the optimizer of all these loops."""
    return torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)


def train_with_lightning(setting: Setting, epochs: int, *loaders: Loader) -> list[float]:
    """Train with Lightning's Trainer as its documentation shows it.

    Returns:
        The times at which steps began, and the end.
    """
    import lightning

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.ERROR)
    times: list[float] = []

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = setting.network()

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            times.append(time.perf_counter())
            return binary_cross_entropy_with_logits(self.network(batch[0]).squeeze(1), batch[1])

        def validation_step(self, batch: tuple[Tensor, Tensor], _: int) -> None:
            self.network(batch[0])

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return sgd(self)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=epochs, accelerator="cuda" if setting.device.type == "cuda" else "cpu", devices=1,
            precision="bf16-mixed" if setting.precision == "bfloat16" else "32-true", logger=False,
            enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
            default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(Classifier(), *loaders)
    setting.wait()
    return [*times, time.perf_counter()]


@dataclass(frozen=True)
class Recipe:
    """One epoch over files, measured without its first steps: loaders fetch ahead while those run."""

    setting: Setting
    files: list[Path]
    steps: int
    left_out: int
    threads: int
    """Of torch in the process that trains."""

    def loader(self) -> Loader:
        """Return a loader with one process per core."""
        count = self.steps * self.setting.batch
        files = [self.files[number % len(self.files)] for number in range(count)]
        images = PngFiles(files, [number % 2 for number in range(count)], self.setting.size)
        pinned = self.setting.device.type == "cuda"
        return DataLoader(images, self.setting.batch, shuffle=True, num_workers=usable_cores(), pin_memory=pinned)

    def images_per_second(self, times: list[float]) -> float:
        """Return the speed from the times at which steps began, and the last one's end."""
        measured = times[self.left_out :]
        return (len(measured) - 1) * self.setting.batch / (measured[-1] - measured[0])


def lightning_images_per_second(recipe: Recipe) -> float:
    """Train with Lightning for one epoch."""
    return recipe.images_per_second(train_with_lightning(recipe.setting, 1, recipe.loader()))


def ray_images_per_second(recipe: Recipe) -> float:
    """Train with Ray Train's recipe for torch, in one worker; its start, half a minute, is not counted."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    cuda, cores = recipe.setting.device.type == "cuda", usable_cores()
    warnings.filterwarnings("ignore", module="ray")
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            resources = None if cuda else {"CPU": cores}
            trainer = TorchTrainer(
                _with_ray, train_loop_config={"recipe": recipe, "result": f"{folder}/rate"},
                scaling_config=ScalingConfig(num_workers=1, use_gpu=cuda, resources_per_worker=resources),
                run_config=RunConfig(name="step", storage_path=folder),
            )  # fmt: skip
            with contextlib.redirect_stderr(None), contextlib.redirect_stdout(None):
                trainer.fit()
        finally:
            ray.shutdown()
        return float(Path(folder, "rate").read_text())


def _with_ray(config: dict[str, Any]) -> None:
    """Do what Ray Train's guide for torch does: prepare model and loader, then an ordinary loop."""
    import ray.train.torch

    recipe: Recipe = config["recipe"]
    torch.set_num_threads(recipe.threads)
    network = ray.train.torch.prepare_model(recipe.setting.network())
    times: list[float] = []

    def timed() -> Any:
        for batch in ray.train.torch.prepare_data_loader(recipe.loader()):
            times.append(time.perf_counter())
            yield batch

    train_plainly(recipe.setting, timed(), network, sgd(network))
    recipe.setting.wait()
    times.append(time.perf_counter())
    ray.train.report({})
    Path(config["result"]).write_text(str(recipe.images_per_second(times)))
