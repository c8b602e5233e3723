"""Distribution of a study's runs over the tasks of a job array. Pure."""

from collections import defaultdict
from collections.abc import Sequence

from clr_hpc.config.run import RunSpec


def families(runs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    """Return each baseline with the runs that go on from it, and each other run by itself, in the study's order.

    Runs whose baseline is not among ``runs`` stand by themselves: it is done, or another job has it.
    """
    names = {spec.run_id for spec in runs}
    found: dict[str, list[RunSpec]] = defaultdict(list)
    for spec in runs:
        baseline = spec.start.baseline.run_id if spec.start is not None else None
        found[baseline if baseline in names and baseline is not None else spec.run_id].append(spec)
    for head, family in found.items():
        family.sort(key=lambda spec: spec.run_id != head)
    return list(found.values())


def share_out(runs: Sequence[RunSpec], tasks: int) -> list[list[RunSpec]]:
    """Distribute runs over at most so many array tasks, evenly by epochs and pixels.

    Families stay together, so that no array task waits for another one's baseline, as long as every array task has
    work. Within an array task the runs of a network follow each other.

    Args:
        runs: of the study, which are to be submitted.
        tasks: upper limit; fewer where there are fewer runs.

    Returns:
        (array tasks,) the runs of each, in the order of training.
    """
    groups = families(runs)
    while len(groups) < tasks and (largest := max(groups, key=len, default=[])) and len(largest) > 1:
        groups.append([largest.pop()])
    count = min(tasks, len(groups))
    shares: list[list[RunSpec]] = [[] for _ in range(count)]
    filled = [0.0] * count
    for group in sorted(groups, key=lambda group: -_effort(group)):
        emptiest = filled.index(min(filled))
        shares[emptiest] += group
        filled[emptiest] += _effort(group)
    for share in shares:
        # baselines first, so that what waits for them is free soon; the sort keeps the order of equals
        share.sort(key=lambda spec: (spec.start is not None, spec.architecture, spec.training.image_size))
    return shares


def _effort(runs: Sequence[RunSpec]) -> float:
    return sum(spec.training.epochs * spec.training.image_size**2 for spec in runs) + 1e-9 * len(runs)
