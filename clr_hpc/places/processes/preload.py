"""What the process that others are forked from has and does; ``fresh_processes`` preloads this module there.

It imports what training needs sooner or later.
"""

import atexit
from contextlib import suppress
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

failure: str | None = None
"""Why something could not be imported. What is half imported stays so in all that are forked from here."""

try:
    import timm  # noqa: F401
    import torch._dynamo  # which an optimizer imports
    import torch.utils.tensorboard  # noqa: F401

    import clr_hpc.training.loop  # noqa: F401
except Exception as error:
    failure = f"{type(error).__name__}: {error}"


def remove_listener() -> None:
    """Remove this process's socket and the folder that it is in, which a command that was killed can't."""
    server: Any = vars(forkserver)["_forkserver"]  # no public name leads to its address
    if server._forkserver_pid is not None or not server._forkserver_address:
        return  # this is the command itself, which does it at its end
    listener = Path(server._forkserver_address)
    with suppress(OSError):
        listener.unlink(missing_ok=True)
        listener.parent.rmdir()


atexit.register(remove_listener)
