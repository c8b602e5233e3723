"""From a study to a job that a place trains: read on its pack, checked, its rates found.

The command line and ``clr_hpc.run`` both go this way. It imports torch only to try networks, weights
and features that are not known to fit.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

from clr_hpc.config.base import UserError, counted
from clr_hpc.config.expand import auto_optimizers, expand, range_test_study
from clr_hpc.config.given_file import check_writable
from clr_hpc.config.network import NETWORKS, network
from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.config.task import OneClassTask
from clr_hpc.data.manifest import Manifest, read_manifest
from clr_hpc.data.misfits import check_fit
from clr_hpc.places.base import Place, TrainingJob
from clr_hpc.places.disk import check_disk
from clr_hpc.places.notify import check_command
from clr_hpc.places.options import TrainingOptions
from clr_hpc.planning.lr_range import folder_of_tests, with_measured
from clr_hpc.store.pack_record import trainable
from clr_hpc.store.study_folder import StudyFolder
from clr_hpc.training.upkeep.starts import check_starts


def on_its_pack(study: Study) -> tuple[Study, Manifest]:
    """Read the manifest of a study's pack, which says what its ``pathologies: all`` are.

    Raises:
        UserError: it can't be read, or has no finding that can be trained.
    """
    manifest = read_manifest(Path(study.pack))
    findings = trainable(manifest.record, study.training.select)
    if study.pathologies == "all" and not findings:
        raise UserError(
            f"pathologies: all: {study.pack} has no finding with images of both kinds to train on; pack more "
            "images, or name what is to be trained"
        )
    return study.on_pack_with(findings), manifest


def check_beforehand(manifest: Manifest, runs: Iterable[RunSpec], results: Path) -> None:
    """See that runs can be trained on a pack and written down, before anything takes its time.

    Args:
        manifest: of the pack.
        runs: one of each kind.
        results: the folder of all results.

    Raises:
        UserError: they can't.
    """
    runs = tuple(runs)
    check_fit(runs, manifest)
    _try_networks(runs)
    _try_weights_and_features(runs)
    check_writable(results)


def _try_networks(runs: Iterable[RunSpec]) -> None:
    """See that networks whose image sizes are not known take those of these runs."""
    settings = {
        (spec.architecture, spec.training.image_size, min(spec.training.batch_size, 2))
        for spec in runs
        if network(spec.architecture).is_tried and spec.network == spec.architecture
    }
    for architecture, size, batch in sorted(settings):
        from clr_hpc.models.backbones import (
            refusal,
        )  # torch takes seconds, and the three built-in ones need no try

        if (reason := refusal(architecture, size, batch)) is not None:
            raise UserError(
                f"{architecture} can't be trained with image_size={size}: {reason}; "
                "give another image_size, or another network"
            )


def job_of(study: Study, pack_checksum: str, folder: StudyFolder, options: TrainingOptions) -> TrainingJob:
    """Return the job of a study all of whose rates are numbers."""
    return TrainingJob(study, pack_checksum, folder, expand(study, pack_checksum), options)


def _try_weights_and_features(runs: Iterable[RunSpec]) -> None:
    """See that given weights are those of their networks, and that methods find the features that they name.

    The built-in networks with random weights and a method's own defaults need no try.
    """
    tried: set[tuple[object, ...]] = set()
    for spec in runs:
        method = spec.task.method if isinstance(spec.task, OneClassTask) else None
        is_plain = method is None or not method.model_dump(exclude_defaults=True, exclude={"name"})
        is_known = spec.architecture in NETWORKS or not spec.is_fitted  # others have been tried
        initialisation = spec.training.initialisation
        kind = (spec.architecture, initialisation, method)
        if (initialisation.weights == "random" and is_plain and is_known) or kind in tried:
            continue
        tried.add(kind)
        from clr_hpc.models.backbones import InitialisationError  # torch takes seconds
        from clr_hpc.models.build import build_model

        try:
            build_model(spec.task, spec.architecture, initialisation, spec.seed)
        except InitialisationError as error:
            raise UserError(f"{spec.weights_key}: {error}") from error
        except UserError as error:
            raise UserError(f"{spec.task.name} with {spec.architecture}: {error}") from error


def check_job(job: TrainingJob) -> None:
    """See that the missing runs of a job find what they start from, and can be written down and told of.

    Raises:
        UserError: they can't.
    """
    check_command(job.study)
    check_starts(job.missing, job.folder)
    check_disk(job)


def with_auto_rates(
    study: Study,
    pack_checksum: str,
    place: Place,
    options: TrainingOptions,
    train: Callable[[TrainingJob], bool],
    say: Callable[[str], None],
) -> Study | None:
    """Return a study with numbers in place of ``auto``.

    A place that waits trains the LR range tests that are missing; for others they must have been made.

    Args:
        study: on its pack.
        pack_checksum: of the pack.
        place: that trains it.
        options: of the command.
        train: called with the range tests that are missing; returns whether they have ended.
        say: called with lines for people.

    Returns:
        None where ``train`` did not end: in a dry run.

    Raises:
        UserError: a range is not known.
    """
    wanted = auto_optimizers(study)
    if wanted and place.waits:
        tests = range_test_study(study, wanted)
        folder = folder_of_tests(options.results, study.name)
        job = job_of(tests, pack_checksum, folder, replace(options, profile=False))
        names = ", ".join(dict.fromkeys(optimizer.name for optimizer in wanted))
        first = f"{counted(len(job.missing), 'range test')} first" if job.missing else "measured before"
        say(f"rates of {names} are auto: {first}")
        if job.missing and not train(job):
            say("then the study's own runs, with the rates that these tests find")
            return None
    study = with_measured(study, pack_checksum, options.results)
    for one in study.measured if wanted else ():
        rates = f"lr_min {one.lr_min:g}, lr_max {one.lr_max:g}, without a cycle {one.lr:g}"
        say(f"  {one.task.name}, {one.architecture}, {one.optimizer.name}: {rates}")
    return study
