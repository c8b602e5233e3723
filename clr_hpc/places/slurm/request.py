"""What a site file asks of a node, compared with the cluster's nodes before anything is submitted."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from clr_hpc.config.base import UserError, unknown
from clr_hpc.places.slurm.commands import SlurmError, call
from clr_hpc.places.slurm.site import Site

SUBMITTING, LISTING = "sbatch", "sinfo"


@dataclass(frozen=True)
class Node:
    """A node, once for each partition that it is in."""

    partition: str
    is_default: bool
    cpus: int
    memory_mb: int
    gpus: int


def check_request(site: Site, must_answer: bool) -> None:
    """See that SLURM is here, answers, knows the site file's partition, and has a node there that is large enough.

    Nothing is known of nodes where a site has no sinfo, or lets it show none.

    Args:
        site: of the cluster.
        must_answer: False: where it doesn't, its nodes are not known, either.

    Raises:
        UserError: it isn't, doesn't or hasn't.
    """
    if shutil.which(SUBMITTING) is None:
        raise SlurmError(f"{SUBMITTING} is not installed here; use a login node of the cluster")
    if shutil.which(LISTING) is None:
        return
    try:
        nodes = cluster_nodes()
    except SlurmError:
        if must_answer:
            raise
        return
    if not nodes:
        return
    wanted = site.partition.split(",") if site.partition else []
    known = list(dict.fromkeys(node.partition for node in nodes))
    for name in wanted:
        if name not in known:
            raise UserError(f"partition={name} of the site file: {unknown('partition', name, known)}")
    _check_size(site, [node for node in nodes if node.partition in wanted or (not wanted and node.is_default)])


def _check_size(site: Site, nodes: Sequence[Node]) -> None:
    where = f"in partition {site.partition}" if site.partition else "in the default partition"
    asked = {
        "cpus": (site.cpus, max((node.cpus for node in nodes), default=None)),
        "gpus": (site.gpus, max((node.gpus for node in nodes), default=None)),
        "memory_gb": (site.memory_gb or 0, max((node.memory_mb / 1024 for node in nodes), default=None)),
    }
    for key, (value, most) in asked.items():
        if most is not None and value > most:
            raise UserError(
                f"{key}={value:g} of the site file is more than the {most:g} of the largest node {where}; "
                f"lower {key}, or name another partition"
            )


def cluster_nodes() -> list[Node]:
    """Return what sinfo says of each node.

    Raises:
        SlurmError: it does not answer.
    """
    lines = call([LISTING, "--noheader", "--Node", "--format=%P|%c|%m|%G"]).splitlines()
    return [_node(*line.strip().split("|", maxsplit=3)) for line in lines if line.count("|") >= 3]


def _node(partition: str, cpus: str, memory: str, resources: str) -> Node:
    gpus = sum(int(count) for count in re.findall(r"\bgpu(?::[^:,(]+)?:(\d+)", resources))
    return Node(partition.rstrip("*"), partition.endswith("*"), _number(cpus), _number(memory), gpus)


def _number(text: str) -> int:
    """Return the digits of ``16`` or ``16+``."""
    found = re.match(r"\d+", text)
    return int(found[0]) if found else 0
