"""The sources: one module or package here for each, named as its command, with its class as ``SOURCE``.

Public data sets are described as data in ``clr_hpc.data.presets``, and have a command each, too.

Another package adds one by an entry point of the group ``clr_hpc.sources`` that leads to the class. A source is
imported when it is used.
"""

from importlib import import_module
from pkgutil import iter_modules

from clr_hpc.config.plugins import load_plugin, plugins
from clr_hpc.data.presets import preset_names
from clr_hpc.data.source import ImageSource

GROUP = "clr_hpc.sources"
_OWN = tuple(module.name for module in iter_modules(__path__))


def source_names() -> list[str]:
    """Return the names of all sources: those of this package first."""
    own = [*_OWN, *preset_names()]
    return [*own, *(name for name in plugins(GROUP) if name not in own)]


def source_class(name: str) -> type[ImageSource]:
    """Return the class of one of ``source_names``.

    Raises:
        PluginError: another package's source can't be imported, or is none.
    """
    if name in preset_names():
        from clr_hpc.data.presets.source import preset_source

        found: type[ImageSource] = preset_source(name)
    elif name not in _OWN:
        found = load_plugin(plugins(GROUP)[name], _is_source, "a subclass of ImageSource")
    else:
        found = import_module(f"{__name__}.{name}").SOURCE
    return found


def _is_source(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, ImageSource)
