"""Public data sets, one YAML file for each: its tables, columns, labels, split and terms."""

from functools import cache
from importlib.resources import files

from clr_hpc.config.yaml_file import parse_yaml
from clr_hpc.data.presets.spec import Preset


@cache
def preset_names() -> list[str]:
    """Return the names of all presets, which are those of their commands."""
    found = (file.name for file in files(__name__).iterdir())
    return sorted(name.removesuffix(".yaml") for name in found if name.endswith(".yaml"))


@cache
def read_preset(name: str) -> Preset:
    """Return one of ``preset_names``."""
    text = (files(__name__) / f"{name}.yaml").read_text(encoding="utf-8")
    return Preset.model_validate(parse_yaml(text))
