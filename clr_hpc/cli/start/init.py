"""The command ``clr-hpc init``: a study to begin with, and a site file where there is a cluster."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

PHANTOM = "clr-hpc pack phantom --images 1000 --size 64 --output packs/phantom"
SIDE_ON_CPU, SIDE_ON_GPU = 64, 224
"""Pixels a side for a first study, where the pack has as many."""
NEXT = ("plan", "run", "report")
"""Commands of the study that come next."""

TEMPLATE = """\
# yaml-language-server: $schema={schema}
# {subject}: trained with a decaying rate, then retrained with cyclical ones and, as
# the control, with the decaying one.
#
{commands}
#
# One seed shows that all works, and gets no verdict: another one could say the opposite. Three or more do.

{named}
# what is trained, a classifier each: findings of which there are images with and without
pathologies: [{pathologies}]
# also alexnet and densenet121
architectures: [mobilenet_v1]
# also sgd, adamw, rmsprop and adagrad; each needs its rates
optimizers: [adam]
# between these bounds policies move; `adam: auto` has an LR range test find them first
rates:
  adam: {{lr_min: 0.0001, lr_max: 0.001}}
stages:
  baseline: {{policies: [{{name: exponential, gamma: 0.8}}], epochs: 5}}
  # from the baseline's weights; a control that trains as long with the baseline's policy is added automatically
  retrain: {{policies: [triangular, one_cycle], epochs: 4}}
# for a verdict: [0, 1, 2]
seeds: [0]
training:
  epochs: 5
  batch_size: 16
  # pixels a side that the network sees, of the pack's {size}; fewer are faster
  image_size: {side}
"""


@dataclass(frozen=True)
class Images:
    """What a study is to be trained on."""

    subject: str
    """What its comment begins with."""
    pack: str
    """Folder of the pack."""
    size: int
    """Pixels a side of its images."""
    findings: tuple[str, ...]
    """Those that can be trained."""
    command: str | None
    """Makes the pack; None where it is there."""
    notes: tuple[str, ...] = ()
    """What to look at first."""


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="[DIR]", help="Folder to write to; it is made if needed.")
    ] = Path(),
    given: Annotated[
        Path | None,
        typer.Option("--from", help="Pack or label table to train on (default: the built-in phantom)."),
    ] = None,
) -> None:
    """Write a first study of all findings that can be trained and, where SLURM is installed, a site file.

    Then show the commands that make its pack, train it and write its report.
    """
    from clr_hpc.cli.display.terminal import complain
    from clr_hpc.config.base import UserError
    from clr_hpc.config.given_file import check_writable
    from clr_hpc.store.atomic import atomic_write

    study, site = folder / "study.yaml", folder / "site.yaml"
    images = images_of(given)
    commands = [*filter(None, [images.command]), *(shlex.join(["clr-hpc", word, str(study)]) for word in NEXT)]
    files = {study: study_text(images, _name(folder), commands)}
    try:
        drafted = _drafted_site()
    except UserError as error:
        complain(f"note: no site file: {error}", "yellow")
        drafted = None
    if drafted is not None:
        place, files[site] = drafted
        commands.append(
            shlex.join(["clr-hpc", "run", str(study), "--on", place, "--site", str(site), "--dry-run"])
        )
    for file in files:
        if file.exists():
            raise UserError(f"{file} is there already; name another folder, or remove it")
    check_writable(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for file, text in files.items():
        with atomic_write(file) as temporary:
            temporary.write_text(text, encoding="utf-8")
        typer.echo(f"wrote {file}")
    for note in images.notes:
        typer.echo(note)
    typer.echo("\n".join(["", "Next:", *(f"  {command}" for command in commands)]))


def images_of(given: Path | None) -> Images:
    """Return what a pack or a label table has to train on; None: the phantom.

    Raises:
        UserError: it is neither, or has no finding with images of both kinds.
    """
    from clr_hpc.config.base import UserError
    from clr_hpc.data.manifest import read_manifest
    from clr_hpc.data.source import ImageSource
    from clr_hpc.store.pack_record import trainable

    if given is None:
        return Images("Phantom films", "packs/phantom", 64, ("cardiomegaly", "effusion"), PHANTOM)
    if not given.is_dir():
        found = _of_table(given, ImageSource.default_size)
    else:
        manifest = read_manifest(given)
        found = Images(f"The images of {given}", str(given), manifest.size, trainable(manifest.record, None), None)
    if not found.findings:
        raise UserError(
            f"{given} has no finding with images of both kinds, positive and negative, to train on; "
            f"see what is in it: {shlex.join(['clr-hpc', 'inspect', str(given)])}"
        )
    return found


def _of_table(table: Path, size: int) -> Images:
    from clr_hpc.config.pathologies import NO_FINDING, in_order
    from clr_hpc.data.inspect import summarise

    summary = summarise(table)
    assert summary.command is not None
    labels = {name: counts for part in summary.parts.values() for name, counts in part.labels.items()}
    both = {name for name, counts in labels.items() if counts.positive and counts.negative}
    pack = shlex.split(summary.command)[-1]
    return Images(
        f"The images of {table}", pack, size, in_order(both - {NO_FINDING}), summary.command, summary.notes
    )


def study_text(images: Images, name: str, commands: list[str]) -> str:
    """Return the text of a study with a comment on each choice."""
    from clr_hpc.config.load import SHIPPED
    from clr_hpc.config.yaml_file import to_yaml
    from clr_hpc.places.machine import visible_gpus

    return TEMPLATE.format(
        schema=SHIPPED / "study.schema.json",
        subject=images.subject,
        commands="\n".join(f"#   {command}" for command in commands),
        named=to_yaml({"name": name, "pack": images.pack}).rstrip(),
        pathologies=", ".join(images.findings),
        size=images.size,
        side=min(images.size, SIDE_ON_GPU if visible_gpus() else SIDE_ON_CPU),
    )


def _name(folder: Path) -> str:
    """Return a name for the study: that of its folder, as far as it can be one."""
    return re.sub(r"[^A-Za-z0-9_-]+", "-", folder.absolute().name).strip("-_") or "study"


def _drafted_site() -> tuple[str, str] | None:
    """Return the first place that is here and has a site file, and the text of one.

    Raises:
        UserError: it does not answer.
    """
    from clr_hpc.places.base import all_places

    for place in all_places():
        if (text := place.draft_site(Path.cwd())) is not None:
            return place.name, text
    return None
