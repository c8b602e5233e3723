"""A site file to begin with: the example, filled in with what SLURM says of the cluster's nodes."""

import re
from collections.abc import Sequence
from pathlib import Path

from clr_hpc.config.yaml_file import to_yaml
from clr_hpc.places.slurm.commands import SlurmError, minutes_of, settings_of
from clr_hpc.places.slurm.request import Node, cluster_nodes

EXAMPLE = Path(__file__).with_name("site.example.yaml")
"""A link in a checkout; a wheel has a copy."""
SCHEMA = Path(__file__).with_name("site.schema.json")
LONGEST_MINUTES = 240
"""Short jobs start sooner, and a run is resumed by the next one."""
MOST_CPUS_PER_GPU = 8
DRAFTED = "# Drafted by clr-hpc init from what sinfo and scontrol say: check each value, the shared folder first."
FREE_MEMORY = 0.9
"""Share of a node's memory that is asked for; its system needs the rest."""


def draft_site(shared_folder: Path) -> str:
    """Return the text of a site file for one GPU, or for a whole node where the cluster has none.

    Args:
        shared_folder: an absolute path that is taken to be on a disk that all nodes see.

    Raises:
        SlurmError: SLURM does not answer, or names no nodes.
    """
    node = _suitable(cluster_nodes())
    share = max(1, node.gpus)
    cpus = max(1, node.cpus // share)
    values = {
        "partition": node.partition,
        "gpus": min(1, node.gpus),
        "cpus": min(cpus, MOST_CPUS_PER_GPU) if node.gpus else cpus,
        "memory_gb": max(1, int(FREE_MEMORY * node.memory_mb / 1024 / share)),
        "time_limit_minutes": min(LONGEST_MINUTES, _limit_minutes(node.partition) or LONGEST_MINUTES),
        "shared_folder": str(shared_folder),
    }
    text = EXAMPLE.read_text(encoding="utf-8")
    text = text.replace(f"$schema={SCHEMA.name}", f"$schema={SCHEMA}\n{DRAFTED}", 1)
    text = text.replace("setup:\n  - module load cuda\n", "# setup: [module load cuda]\n")
    for key, value in values.items():
        line = to_yaml({key: value}).rstrip()
        text = re.sub(rf"^(# )?{key}: .*$", line.replace("\\", r"\\"), text, count=1, flags=re.MULTILINE)
    return text


def _suitable(nodes: Sequence[Node]) -> Node:
    """Return the smallest node with GPUs, of the default partition if it has any; else the smallest of all."""
    if not nodes:
        raise SlurmError("sinfo names no nodes")
    return min(nodes, key=lambda node: (node.gpus == 0, not node.is_default, node.cpus, node.memory_mb))


def _limit_minutes(partition: str) -> int | None:
    """Return a partition's time limit; None where it has none, or does not tell."""
    try:
        return minutes_of(settings_of("partition", partition).get("MaxTime", ""))
    except SlurmError:
        return None
