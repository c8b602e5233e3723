"""Training loops that decode PNG files each epoch, as scripts usually do: Lightning's and Ray Train's."""

import contextlib
import logging
import tempfile
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits
from torch.utils.data import DataLoader, Dataset

from clr_hpc.data.build import usable_cores
from parts.loops import LEARNING_RATE, MOMENTUM, Setting


class PngFiles(Dataset[tuple[Tensor, Tensor]]):
    """Images decoded each time they are seen, as a torchvision folder does."""

    def __init__(self, files: list[Path], length: int, size: int) -> None:
        self.files, self.length, self.size = files, length, size

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        image = Image.open(self.files[index % len(self.files)]).convert("L").resize((self.size, self.size))
        return torch.from_numpy(np.asarray(image) / np.float32(255)).unsqueeze(0), torch.tensor(float(index % 2))


@dataclass(frozen=True)
class Recipe:
    """One epoch over files, measured without its first steps: loaders fetch ahead while those run."""

    setting: Setting
    files: list[Path]
    steps: int
    left_out: int
    threads: int
    """Of torch in the process that trains."""

    def loader(self) -> DataLoader[tuple[Tensor, Tensor]]:
        """Return a loader with a process a core."""
        images = PngFiles(self.files, self.steps * self.setting.batch, self.setting.size)
        pinned = self.setting.device.type == "cuda"
        return DataLoader(images, self.setting.batch, shuffle=True, num_workers=usable_cores(), pin_memory=pinned)

    def images_per_second(self, times: list[float]) -> float:
        """Return the rate from the times at which steps began, and the last one's end."""
        measured = times[self.left_out :]
        return (len(measured) - 1) * self.setting.batch / (measured[-1] - measured[0])


def lightning_images_per_second(recipe: Recipe) -> float:
    """Train with Lightning's Trainer as its documentation shows it."""
    import lightning

    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.pytorch.accelerators.cuda"):
        logging.getLogger(name).setLevel(logging.ERROR)
    setting = recipe.setting
    times: list[float] = []

    class Classifier(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.network = setting.network()

        def training_step(self, batch: tuple[Tensor, Tensor], _: int) -> Tensor:
            times.append(time.perf_counter())
            return binary_cross_entropy_with_logits(self.network(batch[0]).squeeze(1), batch[1])

        def on_train_end(self) -> None:
            setting.wait()
            times.append(time.perf_counter())

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.SGD(self.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)

    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        trainer = lightning.Trainer(
            max_epochs=1, accelerator="cuda" if setting.device.type == "cuda" else "cpu", devices=1, logger=False,
            precision="bf16-mixed" if setting.precision == "bfloat16" else "32-true", enable_checkpointing=False,
            enable_progress_bar=False, enable_model_summary=False, default_root_dir=folder,
        )  # fmt: skip
        trainer.fit(Classifier(), recipe.loader())
    return recipe.images_per_second(times)


def ray_images_per_second(recipe: Recipe) -> float:
    """Train with Ray Train's recipe for torch, in one worker; its start, half a minute, is not counted."""
    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.torch import TorchTrainer

    cuda = recipe.setting.device.type == "cuda"
    cores = usable_cores()
    warnings.filterwarnings("ignore", module="ray")
    with tempfile.TemporaryDirectory() as folder:
        ray.init(num_cpus=cores, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
        try:
            scaling = ScalingConfig(
                num_workers=1, use_gpu=cuda, resources_per_worker=None if cuda else {"CPU": cores}
            )
            trainer = TorchTrainer(
                _with_ray, train_loop_config={"recipe": recipe, "result": f"{folder}/rate"},
                scaling_config=scaling, run_config=RunConfig(name="step", storage_path=folder),
            )  # fmt: skip
            with contextlib.redirect_stderr(None), contextlib.redirect_stdout(None):
                trainer.fit()
        finally:
            ray.shutdown()
        return float(Path(folder, "rate").read_text())


def _with_ray(config: dict[str, object]) -> None:
    """Do what Ray Train's guide for torch does: prepare model and loader, then an ordinary loop."""
    import ray.train.torch

    recipe = config["recipe"]
    assert isinstance(recipe, Recipe)
    setting = recipe.setting
    torch.set_num_threads(recipe.threads)
    network = ray.train.torch.prepare_model(setting.network())
    loader = ray.train.torch.prepare_data_loader(recipe.loader())
    optimizer = torch.optim.SGD(network.parameters(), lr=LEARNING_RATE, momentum=MOMENTUM)
    times = []
    for images, labels in loader:
        times.append(time.perf_counter())
        optimizer.zero_grad()
        with setting.autocast():
            outputs = network(images).squeeze(1)
        binary_cross_entropy_with_logits(outputs.float(), labels).backward()
        optimizer.step()
    setting.wait()
    times.append(time.perf_counter())
    ray.train.report({})
    Path(str(config["result"])).write_text(str(recipe.images_per_second(times)))
