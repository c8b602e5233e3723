"""What a node gives a job, and its address."""

import pytest

from clr_hpc.places.slurm.allocation.resources import NodeError, NodeShare, own_address


@pytest.mark.parametrize(
    ("told", "share"),
    [
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_CPUS_ON_NODE": "64"}, NodeShare(4, 0, None)),
        ({"SLURM_CPUS_ON_NODE": "64", "SLURM_MEM_PER_NODE": "2048"}, NodeShare(64, 0, 2**31)),
        ({"SLURM_CPUS_PER_TASK": "4", "SLURM_MEM_PER_CPU": "1024"}, NodeShare(4, 0, 2**32)),
        (
            {"SLURM_CPUS_PER_TASK": "4", "SLURM_GPUS_ON_NODE": "2", "CUDA_VISIBLE_DEVICES": "0,1"},
            NodeShare(4, 2, None),
        ),
        ({"SLURM_CPUS_PER_TASK": "4", "CUDA_VISIBLE_DEVICES": "GPU-a,GPU-b"}, NodeShare(4, 2, None)),
        ({"SLURM_MEM_PER_NODE": "0"}, NodeShare(1, 0, None)),
    ],
)
def test_a_node_gives_what_slurm_says(told: dict[str, str], share: NodeShare) -> None:
    assert NodeShare.from_environment(told) == share


def test_the_address_is_that_of_the_network_to_the_others() -> None:
    assert own_address([]) == "127.0.0.1", "alone"
    assert own_address(["::1", "127.0.0.9"]) == "127.0.0.1"
    with pytest.raises(NodeError, match="no IPv4 route to the job's other nodes: ::1"):
        own_address(["::1"])
