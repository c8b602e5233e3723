"""What libraries print of a damaged file stays off the terminal: the reason for its rejection is in a table."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock

_lock = Lock()
_inside = 0
"""Threads that want quiet. Logging and warnings are settings of the process, so the first one changes them and the
last one restores them."""
_to_restore = ExitStack()


@contextmanager
def quiet() -> Iterator[None]:
    """Ignore Python's warnings and all logging of the process, in any number of threads."""
    global _inside, _to_restore
    with _lock:
        if _inside == 0:
            _to_restore = ExitStack()
            _to_restore.callback(logging.disable, logging.root.manager.disable)
            logging.disable(logging.CRITICAL)
            _to_restore.enter_context(warnings.catch_warnings())
            warnings.simplefilter("ignore")
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                _to_restore.close()
