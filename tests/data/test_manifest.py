import itertools

import pytest

from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.data.manifest import LabelCounts, count_labels, implied_no_finding


@pytest.mark.parametrize("labels", list(itertools.product((1, 0, -1), repeat=3)))
def test_no_finding_needs_all_14_to_be_known(labels: tuple[int, ...]) -> None:
    filled = labels + (0,) * 11
    expected = 0 if 1 in labels else -1 if -1 in labels else 1
    assert implied_no_finding(PATHOLOGIES, filled) == expected
    assert count_labels(PATHOLOGIES, [filled])["no_finding"].positive == (expected == 1)


def test_each_value_is_counted() -> None:
    counts = count_labels(PATHOLOGIES, [(1, 0, -1) + (0,) * 11, (1, 1, 0) + (0,) * 11])
    assert counts[PATHOLOGIES[0]] == LabelCounts(positive=2)
    assert counts[PATHOLOGIES[1]] == LabelCounts(positive=1, negative=1)
    assert counts[PATHOLOGIES[2]] == LabelCounts(negative=1, unknown=1)
    assert counts["no_finding"] == LabelCounts(negative=2)
    assert set(count_labels(PATHOLOGIES, [])) == {*PATHOLOGIES, "no_finding"}
