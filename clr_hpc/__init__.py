"""Train chest X-ray classifiers under constant, decaying and cyclical learning rates, and compare them.

Importing this package imports nothing heavy: a name of ``__all__`` is imported when it is first used.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_NAMES_OF = {
    "config.expand": ("expand",),
    "config.load": ("StudyError", "load_study"),
    "config.network": ("Network",),
    "config.policy": (
        "Constant",
        "Cosine",
        "ExpRange",
        "Exponential",
        "InverseTime",
        "OneCycle",
        "Ramp",
        "Step",
        "Triangular",
        "Triangular2",
        "Triangular2Modified",
    ),
    "config.run": ("RunSpec",),
    "config.study": ("Study",),
    "data.build": ("build_pack",),
    "data.pack": ("Pack",),
    "data.source": ("ImageRecord", "ImageSource", "Option", "SourceTable"),
    "data.sources.phantom.source": ("PhantomSource",),
    "data.sources.table": ("TableSource",),
    "inference.study": ("TrainedStudy", "load"),
    "places.start": ("FailedRunsError", "run"),
    "reporting.report": ("report", "write_report"),
    "schedule.policies": ("learning_rate", "momentum"),
    "schedule.scheduler": ("PolicyScheduler", "apply_policy"),
}
_MODULE_OF = {name: module for module, names in _NAMES_OF.items() for name in names}
__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
