"""``clr-hpc init`` and ``clr-hpc doctor`` on a real SLURM."""

import sys

import pytest
from slurm_cluster import SlurmCluster

pytestmark = pytest.mark.cluster


def test_a_drafted_site_file_is_right_and_the_cluster_has_no_failure(slurm: SlurmCluster) -> None:
    command = ["env", "COLUMNS=200", sys.executable, "-m", "clr_hpc"]
    slurm.output(*command, "init", "first")
    site = slurm.shared / "first" / "site.yaml"
    assert "partition: batch\n" in site.read_text()
    told = slurm.output(*command, "doctor", "--site", str(site), "--submit")
    lines = {line[9:21].strip(): line for line in told.splitlines()}
    assert "failure " not in told
    assert "answers" in lines["SLURM"]
    assert "batch: time limit UNLIMITED, preemption REQUEUE, grace 20 s" in lines["partition"]
    assert "node01, node02 and this machine differ by" in lines["clocks"]
