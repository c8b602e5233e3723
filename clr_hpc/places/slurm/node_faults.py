"""Which failures are the fault of the machine that a run was trained on, and not of the run."""

import re

MOST_NODES_AT_FAULT = 3
"""A run that failed so on this many nodes counts as failed."""
FAULTS_OF_A_NODE = 2
"""After so many runs in a row, in fresh processes, a node is excluded."""

_SIGNS = re.compile(
    r"CUDA error|CUDA driver|cudaError|no CUDA-capable device|CUDNN_STATUS_(?:INTERNAL|EXECUTION)|CUBLAS_STATUS"
    r"|NCCL error|uncorrectable ECC|Xid|fallen off the bus|HIP error"
    r"|\[Errno 5\]|\[Errno 116\]|Input/output error|Stale file handle|Bus error",
    re.IGNORECASE,
)


def is_machine_fault(reason: str) -> bool:
    """Say whether a failure's reason names a GPU, a driver or a disk that does not work.

    A run can bring a CUDA error about as well, which is why one such failure excludes no node, and why a run that
    fails so on several nodes counts as failed. Want of memory and a full disk are no faults of a machine.
    """
    return _SIGNS.search(reason) is not None and "out of memory" not in reason.lower()
