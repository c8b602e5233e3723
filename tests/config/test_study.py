import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import yaml

from clr_hpc.config.expand import expand
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.config.overrides import EXAMPLE
from clr_hpc.config.pathologies import PATHOLOGIES
from clr_hpc.config.policy import Constant, OneCycle, Triangular
from clr_hpc.config.run import Initialisation, RunSpec, Training
from clr_hpc.config.sections.one_class import OneClassOfStudy
from clr_hpc.config.study import Study
from clr_hpc.config.task import Autoencoder, DeepSvdd, Mahalanobis, NearestNeighbours, OneClassTask, PyodDetector
from clr_hpc.places.options import SearchOptions

STUDY: dict[str, Any] = {
    "name": "trial",
    "pack": "packs/phantom",
    "pathologies": ["Pleural_Thickening", "mass"],
    "optimizers": ["sgd", {"name": "adam", "beta1": 0.8}],
    "rates": {"sgd": {"lr_min": 0.001, "lr_max": 0.1}, "adam": {"lr_min": 1e-4, "lr_max": 1e-3}},
    "stages": {"scratch": {"policies": ["constant", {"name": "triangular", "half_cycle_epochs": 1}, "one_cycle"]}},
    "seeds": [0, 1],
    "training": {"epochs": 4, "image_size": 64},
}


def write(folder: Path, values: Any) -> Path:
    path = folder / "study.yaml"
    path.write_text(values if isinstance(values, str) else yaml.safe_dump(values))
    return path


def test_grid_is_every_combination_once(tmp_path: Path) -> None:
    runs = expand(load_study(write(tmp_path, STUDY)), "a" * 64)
    assert len(runs) == len({run.run_id for run in runs}) == 2 * 1 * 2 * 3 * 2
    assert {run.task.name for run in runs} == {"pleural_thickening", "mass"}
    assert {run.pack_checksum for run in runs} == {"a" * 64}


def test_policies_take_rates_of_the_optimizer_and_length_of_training(tmp_path: Path) -> None:
    runs = expand(load_study(write(tmp_path, STUDY)), "a" * 64)
    adams = {run.policy.name: run.policy for run in runs if run.optimizer.name == "adam"}
    assert adams["constant"] == Constant(lr_max=1e-3)
    assert adams["triangular"] == Triangular(lr_min=1e-4, lr_max=1e-3, half_cycle_epochs=1)
    assert adams["one_cycle"] == OneCycle(lr_min=1e-4, lr_max=1e-3, total_epochs=4)


def test_a_policys_own_rate_wins(tmp_path: Path) -> None:
    own = STUDY | {"stages": {"scratch": {"policies": [{"name": "constant", "lr_max": 0.5}]}}}
    assert {run.policy.lr_max for run in expand(load_study(write(tmp_path, own)), "a" * 64)} == {0.5}


def test_all_are_those_that_the_pack_can_train(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY | {"pathologies": "all"}))
    assert study.findings == PATHOLOGIES, "as long as no pack says otherwise"
    assert study.on_pack_with(("mass", "rib_fracture")).pathologies == ("mass", "rib_fracture")
    named = load_study(write(tmp_path, STUDY | {"pathologies": ["Pleural effusion", "rib fracture"]}))
    assert named.on_pack_with(("mass",)).findings == ("effusion", "rib_fracture")


def test_what_ran_can_be_read_again(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, STUDY))
    again = load_study(write(tmp_path, study.model_dump(mode="json")))
    assert expand(again, "a" * 64) == expand(study, "a" * 64)


def test_overrides(tmp_path: Path) -> None:
    path = write(tmp_path, STUDY)
    study = load_study(
        path, ("epochs=9", "rates.sgd.lr_max=0.2", "seeds=[5]", "training.augmentation.rotation_degrees=0")
    )
    assert study.training.epochs == 9
    assert study.rates["sgd"].lr_max == 0.2
    assert study.seeds == (5,)
    assert study.training.augmentation.rotation_degrees == 0


def test_training_fields_can_be_set_by_their_own_name(tmp_path: Path) -> None:
    shared = set(Study.model_fields) & set(Training.model_fields)
    assert not shared, "a bare name in --set would be ambiguous"
    assert load_study(write(tmp_path, STUDY), ("batch_size=8",)).training.batch_size == 8


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("epoch=3", "did you mean 'epochs'"),
        ("epochs", "key=value"),
        ("epochs=-1", r"training.epochs: .*greater than 0 \(it is -1\)"),
        ("training.epochz=1", "did you mean 'epochs'"),
        ("name.first=1", "name is not a mapping"),
        ("epochs=[", "not YAML"),
        ("stages.scratch.policies=[triangle]", "did you mean 'triangular'"),
        ("stages.scratch.policies=[]", "policies is empty"),
        ("stages.scratch.policies=[constant, constant]", "twice"),
        ("stages.scratch.policies=constant", "must be a list"),
        ("optimizers=[sdg]", "did you mean 'sgd'"),
        ("pathologies=[pneumona]", "did you mean 'pneumonia'"),
        ("pathologies=[null, mass]", "pathologies has None, which is no name of a finding"),
        ("pathologies=mass", "or all"),
        ("rates={}", "no rate for sgd with policy constant; add rates"),
        ("rates.sgd.lr_max=0.0001", "lr_max=0.0001 must be above lr_min=0.001"),
        ("rates.sgd.lr_max=automatic", "rates.sgd.lr_max"),
        ("range_test.pathology=pneumona", "did you mean 'pneumonia'"),
        ("range_test.rates={sdg: {lr_min: 1e-4, lr_max: 1}}", "did you mean 'sgd'"),
        ("range_test.rates={sgd: {lr_min: 0.1, lr_max: 0.01}}", "must be above"),
        ("range_test.seeds=[1, 1]", "twice"),
        ("stages.range_test=true", "stands alone, without scratch"),
        ("stages.scratch.policies=[{name: ramp, lr_min: 0.001}]", "for range tests alone"),
        ("stages={}", "name baseline"),
        (
            "stages={retrain: {policies: [constant]}, scratch: {policies: [constant]}}",
            "stages.baseline, which is missing",
        ),
        ("one_class=[{methods: [deep_svd]}]", "did you mean 'deep_svdd'"),
        ("one_class=[{methods: [one_class_svm]}]", "features_of: a pathology of the study"),
        ("one_class=[{methods: [one_class_svm], features_of: hernia}]", "needs a baseline of that pathology"),
        ("image_size=16", "raise it to 32"),
        ("epochs=yes", r"training.epochs: .*valid integer.*it is 'yes'"),
        ("epochs=true", "epochs=True: true and false are no numbers"),
        ("epochs=1:30", "training.epochs: .*valid integer"),
        ("seeds=[0, true]", "true and false are no numbers"),
        ("seeds=[-1]", r"seeds.0: .*greater than or equal to 0"),
        ("seeds=[0, 1, 0]", "seeds has 0 twice"),
        ("name=a/b", "name"),
    ],
)
def test_mistakes_are_named_with_the_file(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(StudyError, match=message) as caught:
        load_study(write(tmp_path, STUDY), (override,))
    assert "--set" in str(caught.value) or "study.yaml" in str(caught.value)


@pytest.mark.parametrize(("text", "message"), [("a: [", "not YAML"), ("- 1", "a study is a mapping")])
def test_files_that_are_no_study(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(StudyError, match=message):
        load_study(write(tmp_path, text))


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="no such study file"):
        load_study(tmp_path / "nothing.yaml")


PROTOCOL = STUDY | {
    "pathologies": ["mass"],
    "optimizers": ["sgd"],
    "seeds": [0],
    "stages": {
        "baseline": {"policies": ["cosine"], "epochs": 5},
        "retrain": {
            "policies": [{"name": "triangular", "half_cycle_epochs": 1}, "constant"],
            "epochs": 3,
            "weights": "best",
        },
        "scratch": {"policies": ["constant"]},
    },
    "one_class": [
        {"normal": "no_finding", "methods": ["autoencoder", "nearest_neighbours"], "features_of": "mass"}
    ],
}


def test_stages_follow_each_other(tmp_path: Path) -> None:
    runs = expand(load_study(write(tmp_path, PROTOCOL)), "a" * 64)
    of_mass = [run for run in runs if run.task.name == "mass"]
    assert [(run.stage, run.policy.name, run.training.epochs) for run in of_mass] == [
        ("baseline", "cosine", 5),
        ("control", "cosine", 3),
        ("retrain", "triangular", 3),
        ("retrain", "constant", 3),
        ("scratch", "constant", 4),
    ]
    baseline, control, triangular, *_ = of_mass
    for run in (control, triangular):
        assert run.start is not None
        assert run.start.baseline == baseline
        assert run.start.weights == "best"


def test_the_control_differs_from_the_retraining_in_its_policy_alone(tmp_path: Path) -> None:
    runs = expand(load_study(write(tmp_path, PROTOCOL)), "a" * 64)
    baseline, control, triangular, *_ = runs
    assert control.model_copy(update={"stage": "retrain", "policy": triangular.policy}) == triangular
    assert control.policy == baseline.policy.model_copy(update={"total_epochs": 3})


def stopping(**retrain: bool) -> dict[str, Any]:
    stages = PROTOCOL["stages"] | {"retrain": PROTOCOL["stages"]["retrain"] | retrain}
    return PROTOCOL | {"stages": stages, "training": PROTOCOL["training"] | {"early_stop_epochs": 2}}


def test_a_stage_can_be_kept_from_stopping_early(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, stopping(early_stop=False)))
    patience = {run.stage: run.training.early_stop_epochs for run in expand(study, "a" * 64)}
    assert patience == {"baseline": 2, "control": None, "retrain": None, "scratch": 2, "fit": 2}


def test_a_study_of_old_is_written_as_it_was(tmp_path: Path) -> None:
    stages = load_study(write(tmp_path, stopping())).model_dump(mode="json")["stages"]
    assert all("early_stop" not in stage for stage in stages.values() if isinstance(stage, dict))
    stages = load_study(write(tmp_path, stopping(early_stop=False))).model_dump(mode="json")["stages"]
    assert stages["retrain"]["early_stop"] is False


def test_a_retraining_that_may_stop_before_its_control_is_remarked_on(tmp_path: Path) -> None:
    (remark,) = load_study(write(tmp_path, stopping())).remarks
    assert "early_stop_epochs=2" in remark
    assert "set stages.retrain.early_stop: false" in remark
    assert load_study(write(tmp_path, stopping(early_stop=False))).remarks == ()
    assert load_study(write(tmp_path, PROTOCOL)).remarks == ()


def test_a_matched_control_peaks_at_the_rate_of_each_policy(tmp_path: Path) -> None:
    wave = {"name": "triangular", "half_cycle_epochs": 1, "lr_max": 0.3}
    retraining = {"policies": [wave, "one_cycle", "constant"], "epochs": 3}
    stages = {"baseline": {"policies": ["cosine"], "epochs": 5}}
    study = PROTOCOL | {"one_class": []}
    plain, matched = (
        expand(load_study(write(tmp_path, study | {"stages": stages | {"retrain": retraining | more}})), "a" * 64)
        for more in ({}, {"control": "rate_matched"})
    )
    controls = [run for run in matched if run.stage == "control"]
    assert [run.policy.lr_max for run in controls] == [0.3, 0.1], "one for both policies that peak at 0.1"
    assert {run.policy.total_epochs for run in controls} == {3}
    assert controls[1] in plain, "where the peak is the baseline's, it is the same run"
    assert [run for run in matched if run.stage != "control"] == [run for run in plain if run.stage != "control"]


def test_a_study_that_does_not_match_rates_keeps_its_bytes(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, PROTOCOL))
    assert "control" not in study.model_dump(mode="json")["stages"]["retrain"]
    for control in ("rate_matched", {"sgd": 0.2}):
        retraining = PROTOCOL["stages"]["retrain"] | {"control": control}
        other = load_study(write(tmp_path, PROTOCOL | {"stages": PROTOCOL["stages"] | {"retrain": retraining}}))
        assert load_study(write(tmp_path, other.model_dump(mode="json"))) == other


def test_a_control_takes_the_rate_that_the_study_gives_it(tmp_path: Path) -> None:
    retraining = PROTOCOL["stages"]["retrain"] | {"control": {"sgd": 0.2}}
    study = PROTOCOL | {"stages": PROTOCOL["stages"] | {"retrain": retraining}}
    runs = expand(load_study(write(tmp_path, study)), "a" * 64)
    assert {run.policy.lr_max for run in runs if run.stage == "control"} == {0.2}
    assert {run.policy.lr_max for run in runs if run.stage != "control"} == {0.1}
    with pytest.raises(StudyError, match="mend it for adam, which the study does not have"):
        load_study(write(tmp_path, study), ("stages.retrain.control={sgd: 0.2, adam: 0.1}",))
    with pytest.raises(StudyError, match="mend it for sgd, which has no rate there"):
        load_study(write(tmp_path, study), ("stages.retrain.control={}",))
    bounded = {"policies": [{"name": "cosine", "lr_min": 0.01}]}
    file = write(tmp_path, study | {"stages": study["stages"] | {"baseline": bounded}})
    with pytest.raises(StudyError, match="must be above lr_min"):
        load_study(file, ("stages.retrain.control={sgd: 0.005}",))


def test_one_class_methods_are_trained_or_fitted_to_a_baselines_features(tmp_path: Path) -> None:
    runs = expand(load_study(write(tmp_path, PROTOCOL)), "a" * 64)
    stages = {run.task.name: [] for run in runs}
    for run in runs:
        stages[run.task.name].append(run.stage)
    assert stages["no_finding-autoencoder"] == ["baseline", "control", "retrain", "retrain", "scratch"]
    assert stages["no_finding-nearest_neighbours"] == ["fit"]
    assert runs[-1].start is not None
    assert runs[-1].start.baseline == runs[0]


def with_features(features: dict[str, Any], methods: list[Any], **changes: Any) -> dict[str, Any]:
    entry = {"methods": methods, "features": features}
    return PROTOCOL | {"optimizers": ["sgd"], "one_class": [entry]} | changes


def test_features_come_from_a_network_with_weights_of_its_own(tmp_path: Path) -> None:
    network = {"network": "timm/resnet18", "weights": "resnet18.pt"}
    features = network | {"image_size": 64, "normalisation": {"std": 0.5}}
    methods = ["padim", "pyod/ECOD", {"name": "nearest_neighbours", "strides": [8, 16]}]
    given = with_features(features, methods, architectures=["mobilenet_v1", "alexnet"])
    study = load_study(write(tmp_path, given))
    fits = [run for run in expand(study, "a" * 64) if run.stage == "fit"]
    assert [run.task.name for run in fits] == [
        "no_finding-padim",
        "no_finding-pyod-ECOD",
        "no_finding-nearest_neighbours",
    ], "once, and not for each architecture of the study"
    assert {(run.start, run.architecture) for run in fits} == {(None, "timm/resnet18")}
    assert fits[0].training.initialisation == Initialisation(weights="imagenet", file="resnet18.pt")
    assert (fits[0].training.image_size, fits[0].training.normalisation.std) == (64, 0.5)
    assert RunSpec.model_validate_json(fits[1].model_dump_json()) == fits[1]


def pretrained(**changes: Any) -> dict[str, Any]:
    entry = {"methods": ["padim", "mahalanobis"], "features_of": "pretrain"}
    stages = {"pretrain": {"policies": ["cosine"], "epochs": 7}}
    return PROTOCOL | {"pathologies": [], "optimizers": ["sgd"], "one_class": [entry], "stages": stages} | changes


def test_features_may_be_learned_without_labels_in_the_study(tmp_path: Path) -> None:
    study = load_study(write(tmp_path, pretrained(seeds=[0, 1])))
    runs = expand(study, "a" * 64)
    assert [(run.stage, run.task.name, run.seed) for run in runs] == [
        *[("pretrain", "simsiam", 0), ("pretrain", "simsiam", 1)],
        *[("fit", f"no_finding-{method}", seed) for method in ("padim", "mahalanobis") for seed in (0, 1)],
    ]
    own, started = runs[0], {run.seed: run.start.baseline for run in runs[2:] if run.start is not None}
    assert started == {0: runs[0], 1: runs[1]}
    assert (own.training.epochs, own.training.early_stop_epochs) == (7, None)
    assert own.training.augmentation == study.stages.pretrain.augmentation != study.training.augmentation
    assert all(RunSpec.model_validate_json(run.model_dump_json()) == run for run in runs)


def test_a_study_without_pretraining_says_nothing_of_it(tmp_path: Path) -> None:
    assert "pretrain" not in load_study(write(tmp_path, PROTOCOL)).model_dump()["stages"]


@pytest.mark.parametrize(
    ("changes", "mistake"),
    [
        (
            {"one_class": [{"methods": ["autoencoder"]}]},
            "stages.pretrain and features_of: pretrain .* belong together",
        ),
        ({"stages": {"scratch": {"policies": ["cosine"]}}}, "stages.pretrain and features_of: pretrain"),
        ({"pathologies": ["mass"]}, "pretrain alone, which trains no mass; add stages.baseline"),
        ({"rates": {"sgd": "auto"}}, "lr_min of sgd with policy cosine of stages.pretrain is auto"),
        ({"stages": {"pretrain": {"policies": ["cosine"], "objective": "simsam"}}}, "simsiam"),
    ],
)
def test_a_pretraining_that_can_not_be_is_refused(changes: dict[str, Any], mistake: str, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=mistake):
        load_study(write(tmp_path, pretrained(**changes)))


def test_features_have_one_source(tmp_path: Path) -> None:
    study = with_features({"network": "timm/resnet18"}, ["padim"])
    study["one_class"][0]["features_of"] = "mass"
    with pytest.raises(StudyError, match="are two sources of features; drop one"):
        load_study(write(tmp_path, study))
    del study["one_class"][0]["features_of"], study["one_class"][0]["features"]
    with pytest.raises(StudyError, match="need features_of: a pathology of the study or pretrain, or features: a"):
        load_study(write(tmp_path, study))


def test_new_options_of_methods_do_not_change_old_ids() -> None:
    assert NearestNeighbours().model_dump() == {"name": "nearest_neighbours", "neighbours": 5}
    assert NearestNeighbours(strides=(8,)).model_dump()["strides"] == (8,)
    assert Autoencoder().model_dump() == {"name": "autoencoder", "code_channels": 16}
    assert Autoencoder(normalised=True).model_dump()["normalised"]
    assert "batch_norm_scale" not in DeepSvdd().model_dump()
    one, other = (PyodDetector(detector="KNN", arguments={"n_neighbors": 3}) for _ in range(2))
    assert hash(OneClassTask(method=one)) == hash(OneClassTask(method=other)), "specs are kept by their hash"
    assert Mahalanobis.model_validate(Mahalanobis(strides=None).model_dump()).strides is None
    assert "features" not in OneClassOfStudy(methods=["autoencoder"]).model_dump()


def test_an_autoencoder_has_no_architecture_to_vary(tmp_path: Path) -> None:
    study = PROTOCOL | {"architectures": ["mobilenet_v1", "densenet121"]}
    autoencoders = [
        run for run in expand(load_study(write(tmp_path, study)), "a" * 64) if "autoencoder" in run.name
    ]
    assert len(autoencoders) == 5
    assert {run.architecture for run in autoencoders} == {"mobilenet_v1"}


def test_every_run_stands_after_the_one_it_starts_from(tmp_path: Path) -> None:
    seen = set()
    for run in expand(load_study(write(tmp_path, PROTOCOL | {"seeds": [0, 1]})), "a" * 64):
        assert run.start is None or run.start.baseline.run_id in seen
        seen.add(run.run_id)


def test_every_study_in_jobs_is_valid(repository: Path) -> None:
    studies = sorted((repository / "jobs").glob("*.yaml"))
    assert len(studies) >= 3
    for path in studies:
        assert expand(load_study(path), "a" * 64)
        assert path.read_text().startswith("# "), f"{path} must open with its command, time and what to expect"


OWN_EPOCHS = {"stages": {"baseline": {"policies": ["constant"], "epochs": 5}}}


@pytest.mark.parametrize(
    ("study", "override", "acts"),
    [
        (
            PROTOCOL | {"stages": {"baseline": {"policies": ["constant"], "epochs": 5}}},
            "epochs=2",
            "baseline.epochs",
        ),
        (
            PROTOCOL | {"stages": {"baseline": {"policies": ["constant"], "epochs": 5}}},
            "epochs=4",
            "baseline.epochs",
        ),
        (STUDY, "rates.adagrad={lr_min: 0.1, lr_max: 1}", "set optimizers"),
        (STUDY, "range_test.epochs=9", "clr-hpc range-test"),
        (STUDY, "training.initialisation={weights: random}", None),
        (STUDY, "batch_size=32", None),
        (STUDY, "epochs=4", None),
        (STUDY, "name=other", None),
        (STUDY, "track=[mlflow]", None),
        (STUDY, "keep.snapshots=true", None),
        (STUDY | {"rates": {"sgd": "auto", "adam": "auto"}}, "range_test.epochs=9", None),
        (STUDY | {"rates": {"sgd": "auto", "adam": "auto"}}, "range_test.pathology=edema", None),
    ],
)
def test_an_override_that_changes_nothing_names_what_would_act(
    tmp_path: Path, study: Any, override: str, acts: str | None
) -> None:
    file = write(tmp_path, study | {"one_class": []})
    if acts is None:
        load_study(file, (override,))
        return
    with pytest.raises(StudyError, match=f"--set {re.escape(override)} changes nothing: .*{acts}"):
        load_study(file, (override,))
    with pytest.raises(StudyError, match="changes nothing"):
        load_study(file, ("seeds=[3]", override, "batch_size=7"))


def test_what_an_override_changes_depends_on_the_command(tmp_path: Path) -> None:
    tune = {"trials": 2, "space": {"batch_size": [8, 16]}}
    file = write(tmp_path, STUDY | {"tune": tune})
    for override, purpose, acts in (
        ("epochs=9", "range-test", "set range_test.epochs"),
        ("batch_size=4", "tune", "set tune.space.batch_size"),
        ("tune.trials=3", "run", "only clr-hpc tune"),
    ):
        with pytest.raises(StudyError, match=acts):
            load_study(file, (override,), purpose)
        for other in {"run", "range-test", "tune"} - {purpose} if override != "tune.trials=3" else {"tune"}:
            load_study(file, (override,), other)
    optimizers = (
        "optimizers=[sgd, adagrad]",
        "rates={sgd: {lr_min: 0, lr_max: 1}, adagrad: {lr_min: 0, lr_max: 1}}",
    )
    assert load_study(file, optimizers, "range-test").optimizers[1].name == "adagrad", "neither can stand alone"


def test_the_example_of_the_help_acts_in_every_study_in_jobs(repository: Path) -> None:
    for path in (repository / "jobs").glob("*.yaml"):
        assert load_study(path, (EXAMPLE,)) != load_study(path)
    assert EXAMPLE in str(get_type_hints(SearchOptions, include_extras=True)["overrides"].__metadata__[0].help)


def test_an_override_of_a_shared_mapping_is_of_one_key(tmp_path: Path) -> None:
    text = yaml.safe_dump(PROTOCOL | {"stages": {}}).replace(
        "stages: {}", "stages: {baseline: &it {policies: [constant], epochs: 5}, scratch: *it}"
    )
    stages = load_study(write(tmp_path, text), ("stages.scratch.epochs=2",)).stages
    assert stages.baseline is not None
    assert stages.baseline.epochs == 5


def test_many_seeds_are_read_at_once_and_too_many_are_rejected(tmp_path: Path) -> None:
    seeds = ", ".join(map(str, range(100_000)))
    file = write(tmp_path, yaml.safe_dump(STUDY | {"seeds": []}).replace("seeds: []", f"seeds: [{seeds}]"))
    with pytest.raises(StudyError, match="1,200,000 runs, of 100,000 seeds"):
        load_study(file)
