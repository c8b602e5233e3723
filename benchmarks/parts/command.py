"""What scripts share without importing torch: their command line, and the studies that they write."""

import argparse
from pathlib import Path

import yaml

OF_THE_ARTICLE = ("mobilenet_v1", "alexnet", "densenet121")
"""Networks that are measured where none is named."""


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser whose help shows a script's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)


def write_study(
    file: Path, pack: Path, training: dict[str, object], lr_max: float = 0.001, **changes: object
) -> Path:
    """Write a study of one binary classifier at a constant rate, with changes; return its file."""
    study = {"name": file.stem, "pack": str(pack), "pathologies": ["effusion"], "optimizers": ["sgd"]}
    study |= {"stages": {"baseline": {"policies": ["constant"]}}, "training": training} | changes
    study["rates"] = {optimizer: {"lr_min": lr_max / 10, "lr_max": lr_max} for optimizer in study["optimizers"]}
    file.write_text(yaml.safe_dump(study))
    return file
