"""What ``clr-hpc doctor`` says of clusters, of which a few commands are made here."""

import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clr_hpc.doctor.check import Check, Level
from clr_hpc.places.slurm.place import Slurm

CONFIG = (
    "JobRequeue              = 1\nKillWait                = 30 sec\nClusterName = one\nSLURM_VERSION = 25.05.3\n"
)
PARTITION = "PartitionName=cpu\n   GraceTime=60 MaxTime=1-00:00:00\n   PreemptMode=REQUEUE State=UP\n"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Check]]:
    """Return a function that makes a cluster and a site file, and finds what is wrong there."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin") + ":/usr/bin:/bin")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("shutil.which", lambda name: next(iter((tmp_path / "bin").glob(name)), None))
    (tmp_path / "bin").mkdir()

    def install(name: str, script: str) -> None:
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    def examine(
        config: str = CONFIG,
        partition: str = PARTITION,
        site: dict[str, Any] | None = None,
        is_default_site: bool = False,
        absent: tuple[str, ...] = (),
        submits: bool = False,
        **commands: str,
    ) -> list[Check]:
        (tmp_path / "config").write_text(config)
        (tmp_path / "partition").write_text(partition)
        of_all = {"sbatch": "", "squeue": "", "scancel": "", "sacct": "", "sinfo": "echo 'cpu*|8|64000|(null)'"}
        of_all["scontrol"] = f'cat "{tmp_path}/$2"'
        for name, script in (of_all | commands).items():
            if name not in absent:
                install(name, script)
        file = tmp_path / ("~none" if is_default_site else "site.yaml")
        values = {"cpus": 4, "time_limit_minutes": 60, "shared_folder": str(tmp_path)}
        file.write_text(yaml.safe_dump(values | (site or {})))
        given = None if is_default_site else file
        examinations = Slurm().examinations(given, tmp_path / "results", submits)
        return [one for made in examinations for one in made()]

    return examine


def bad(checks: list[Check]) -> list[tuple[str, str, str]]:
    assert [one for one in checks if bool(one.remedy) == (one.level == Level.OK)] == []
    return [(one.subject, one.level.value, one.text) for one in checks if one.level != Level.OK]


def test_a_cluster_that_is_as_it_should_be(cluster: Callable[..., list[Check]]) -> None:
    found = cluster()
    assert bad(found) == []
    assert [one.subject for one in found] == ["SLURM", "requeue", "site file", "partition"]
    assert found[-1].text == "cpu: time limit 1-00:00:00, preemption REQUEUE, grace 60 s"


BROKEN: dict[str, tuple[dict[str, Any], tuple[str, str, str]]] = {
    "no requeue": (
        {"config": CONFIG.replace("= 1", "= 0")},
        ("requeue", "warning", "JobRequeue=0 at this site"),
    ),
    "killed at once": ({"config": CONFIG.replace("30 sec", "5 sec")}, ("grace", "warning", "KillWait=5 s")),
    "silent": ({"scontrol": "echo no controller >&2; exit 1"}, ("SLURM", "failure", "scontrol: no controller")),
    "preempted at once": (
        {"partition": PARTITION.replace("=60", "=0")},
        ("partition", "warning", "cpu: jobs are preempted within GraceTime=0 s"),
    ),
    "down": ({"partition": PARTITION.replace("=UP", "=DOWN")}, ("partition", "failure", "cpu: its state is DOWN")),
    "short limit": (
        {"partition": PARTITION.replace("1-00:00:00", "00:30:00")},
        ("partition", "failure", "cpu: time_limit_minutes=60 is above its MaxTime=00:30:00"),
    ),
    "larger than a node": ({"site": {"cpus": 99}}, ("site file", "failure", "cpus=99 of the site file is more")),
    "key of no site": ({"site": {"gpu": 1}}, ("site file", "failure", "did you mean 'gpus'?")),
    "no accounts": ({"absent": ("sacct",)}, ("SLURM", "warning", "no sacct: ended jobs are soon forgotten")),
    "no sbatch": ({"absent": ("sbatch",)}, ("SLURM", "failure", "sbatch not installed here")),
}


@pytest.mark.parametrize(("changes", "wanted"), BROKEN.values(), ids=BROKEN)
def test_a_broken_piece_is_named(
    changes: dict[str, Any], wanted: tuple[str, str, str], cluster: Callable[..., list[Check]]
) -> None:
    subject, level, text = bad(cluster(**changes))[0]
    assert (subject, level) == wanted[:2]
    assert wanted[2] in text


def test_no_submitit(cluster: Callable[..., list[Check]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "submitit", None)
    (found,) = [one for one in cluster() if one.level != Level.OK]
    assert (found.subject, found.level) == ("submitit", Level.FAILURE)
    assert found.remedy == "pip install 'clr-hpc[slurm]'"
    assert [level for _, level, _ in bad(cluster(is_default_site=True))] == ["warning", "warning"], "nobody asked"


def test_results_that_nodes_do_not_see(cluster: Callable[..., list[Check]], tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    ((subject, level, _),) = bad(cluster(site={"shared_folder": str(tmp_path / "shared")}))
    assert (subject, level) == ("site file", "warning")


def test_a_machine_without_slurm_has_one_line(cluster: Callable[..., list[Check]]) -> None:
    commands = ("sbatch", "squeue", "scancel", "sacct", "sinfo", "scontrol")
    assert [one.text for one in cluster(absent=commands, is_default_site=True)] == ["not on this machine"]


SBATCH = 'for one; do case "$one" in --wrap=*) export SLURM_PROCID=0; sh -c "${one#--wrap=}";; esac; done'


@pytest.mark.parametrize(
    ("clock", "level", "text"),
    [
        ("date +%s.%N", "ok", r"differ by 0\.\d s; the job"),
        ("echo $(($(date +%s) + 100)).5", "warning", r"\+(99|10[01]) s"),
        ("echo $(($(date +%s) - 1000)).5", "failure", r"-(999|100[01]) s"),
    ],
)
def test_clocks_are_compared_by_a_job(
    clock: str, level: str, text: str, cluster: Callable[..., list[Check]], tmp_path: Path
) -> None:
    (tmp_path / "bin" / "date").write_text(f"#!/bin/sh\nPATH=/usr/bin:/bin\n{clock}\n")
    (tmp_path / "bin" / "date").chmod(0o755)
    clocks = cluster(submits=True, sbatch=SBATCH, srun='exec "$@"')[-1]
    assert (clocks.subject, clocks.level) == ("clocks", level)
    assert re.search(text, clocks.text)
    assert list(tmp_path.glob(".clr-hpc-doctor-*")) == []


def test_a_job_that_is_rejected(cluster: Callable[..., list[Check]]) -> None:
    found = cluster(submits=True, sbatch="echo invalid account >&2; exit 1")[-1]
    assert (found.level, found.text) == (Level.FAILURE, "sbatch: invalid account")


def test_a_job_whose_files_are_not_seen(cluster: Callable[..., list[Check]]) -> None:
    assert "does not see it; name a shared disk" in cluster(submits=True)[-1].text
