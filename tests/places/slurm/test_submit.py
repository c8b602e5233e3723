"""How runs are shared out over array tasks."""

from hypothesis import given
from hypothesis import strategies as st

from clr_hpc.config.expand import expand
from clr_hpc.config.study import Study
from clr_hpc.places.slurm.submit import families, share_out

CHECKSUM = "c0ffee" + "0" * 58
STUDY = Study.model_validate(
    {
        "name": "shared",
        "pack": "packs/none",
        "pathologies": ["effusion", "edema", "cardiomegaly"],
        "architectures": ["mobilenet_v1", "densenet121"],
        "optimizers": ["sgd"],
        "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.01}},
        "stages": {
            "baseline": {"policies": ["cosine"]},
            "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 1}]},
        },
        "training": {"epochs": 4, "image_size": 64},
    }
)
RUNS = expand(STUDY, CHECKSUM)


@given(st.integers(1, 30), st.integers(0, len(RUNS)))
def test_every_run_is_in_one_share_and_no_share_is_empty(tasks: int, count: int) -> None:
    shares = share_out(RUNS[:count], tasks)
    assert sorted(spec.name for share in shares for spec in share) == sorted(spec.name for spec in RUNS[:count])
    assert len(shares) == min(tasks, count)
    assert all(shares)


def test_families_stay_together_with_the_baseline_first() -> None:
    assert len(families(RUNS)) == 6
    for share in share_out(RUNS, 6):
        assert share[0].start is None
        assert {spec.start.baseline for spec in share[1:] if spec.start} == {share[0]}


def test_a_run_whose_baseline_is_done_stands_by_itself() -> None:
    retraining = [spec for spec in RUNS if spec.start is not None]
    assert len(families(retraining)) == len(retraining)
