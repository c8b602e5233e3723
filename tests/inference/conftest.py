"""A study that was trained, which all tests of trained models read."""

import pytest
from trial_study import TrialStudy

import clr_hpc
from clr_hpc.data.pack import Pack
from clr_hpc.inference.study import TrainedStudy

PREDICTED = {
    "pathologies": ["cardiomegaly"],
    "one_class": [{"normal": "no_finding", "methods": ["nearest_neighbours"], "features_of": "cardiomegaly"}],
    "seeds": [0, 1],
    "stages": {
        "baseline": {"policies": ["exponential"], "epochs": 2},
        "retrain": {"policies": [{"name": "triangular", "half_cycle_epochs": 0.5}], "epochs": 3},
    },
    "training": {"epochs": 2, "image_size": 32, "batch_size": 16},
}


@pytest.fixture(scope="session")
def study(small_pack: Pack, tmp_path_factory: pytest.TempPathFactory) -> TrialStudy:
    """Classifiers and a one-class model of two seeds, the retrained ones with snapshots and averaged weights."""
    written = TrialStudy.write(tmp_path_factory.mktemp("predict"), pack=str(small_pack.folder), **PREDICTED)
    done = written.run()
    assert done.returncode == 0, done.stdout
    return written


@pytest.fixture
def trained(study: TrialStudy) -> TrainedStudy:
    return clr_hpc.load(study.file.parent / "results" / "trial")
