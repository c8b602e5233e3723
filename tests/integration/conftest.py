"""What integration tests share: a real SLURM."""

from collections.abc import Iterator

import pytest
from slurm_cluster import SlurmCluster, slurm_cluster


@pytest.fixture(scope="session")
def slurm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SlurmCluster]:
    """A cluster of two nodes, with accounting, for all tests; each leaves both nodes idle."""
    with slurm_cluster(shared=(tmp_path_factory.getbasetemp(),)) as cluster:
        yield cluster
