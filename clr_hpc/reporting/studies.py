"""Compare studies on the same findings and test images: one page, and its tables as CSV."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clr_hpc.config.base import UserError, unknown
from clr_hpc.config.pathologies import title
from clr_hpc.reporting.page import studies as page
from clr_hpc.reporting.page.template import write_text
from clr_hpc.reporting.read.studies import read_studies
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.run.kept import known_predictions
from clr_hpc.reporting.stats.studies import Chosen, best_settings, compare_studies
from clr_hpc.reporting.tables import studies as tables


@dataclass(frozen=True, slots=True)
class ComparisonPage:
    """The page that was written, and the sentence that it opens with."""

    path: Path
    answer: str


def write_comparison(
    folders: Sequence[Path], output: Path, findings: Sequence[str] = (), margin: float | None = None
) -> ComparisonPage:
    """Write ``comparison.html``, ``studies.csv`` and ``findings.csv`` into a folder.

    The same run folders give the same bytes.

    Args:
        folders: of two studies or more, on the same pack.
        output: the folder; made if it isn't there.
        findings: which are compared; empty: all, which must be the same in every study.
        margin: AUROC that counts as no difference; None: that of the studies' question.

    Raises:
        ReportError: a folder is not a study's.
        UserError: the studies can't be compared; the message says in what they differ.
    """
    studies = read_studies(folders, known_predictions)
    chosen = _same_findings({name: best_settings(name, study) for name, study in studies.items()}, findings)
    _check_images(chosen)
    seeds = _shared_seeds(chosen)
    patients = max(study.test.patients for study in studies.values())
    compared = compare_studies(chosen, seeds, patients, _margin(studies) if margin is None else margin)
    output.mkdir(parents=True, exist_ok=True)
    write_text(output / "studies.csv", tables.means_csv(compared))
    write_text(output / "findings.csv", tables.findings_csv(compared.findings))
    path = write_text(output / "comparison.html", page.render(compared, studies))
    return ComparisonPage(path, page.answer(compared))


def _same_findings(by_study: Mapping[str, Sequence[Chosen]], wanted: Sequence[str]) -> list[Chosen]:
    """Return the settings of the findings that are compared, finding by finding.

    Raises:
        UserError: a study has no run that is done, or the studies' findings differ.
    """
    of_study = {name: {each.finding: each for each in chosen} for name, chosen in by_study.items()}
    if (empty := next((name for name, chosen in of_study.items() if not chosen), None)) is not None:
        raise UserError(f"{empty} has no classifier that is done; train it with 'clr-hpc run'")
    every = list(dict.fromkeys(finding for chosen in of_study.values() for finding in chosen))
    if odd := [name for name in wanted if title(name) not in every]:
        raise UserError(unknown("finding of these studies", odd[0], [_name(each) for each in every]))
    titles = list(dict.fromkeys(title(name) for name in wanted))
    compared = titles or every
    shared = [finding for finding in compared if all(finding in chosen for chosen in of_study.values())]
    for name, chosen in of_study.items():
        if missing := [finding for finding in compared if finding not in chosen]:
            remedy = f"compare what all have: {' '.join(f'--finding {_name(each)}' for each in shared)}"
            raise UserError(
                f"{name} has no run that is done of {', '.join(missing)}, which others have: train it, or "
                f"{remedy if shared else 'compare other studies'}"
            )
    return [chosen[finding] for finding in compared for chosen in of_study.values()]


def _name(heading: str) -> str:
    return heading.lower().replace(" ", "_")


def _check_images(chosen: Sequence[Chosen]) -> None:
    """See that all studies have tested each finding on the same images.

    Raises:
        UserError: they haven't.
    """
    first_of: dict[str, Chosen] = {}
    for each in chosen:
        first = first_of.setdefault(each.finding, each)
        one, other = first.test_images, each.test_images
        if not np.array_equal(one, other):
            raise UserError(
                f"{each.finding} was tested on {len(one):,} images in {first.study} and on {len(other):,} in "
                f"{each.study}, {len(np.intersect1d(one, other)):,} of them the same: train them with the same "
                "training.select, or compare other findings with --finding"
            )


def _shared_seeds(chosen: Sequence[Chosen]) -> list[int]:
    shared = sorted(set.intersection(*(set(each.runs) for each in chosen)))
    if not shared:
        seeds = {each.study: sorted(each.runs) for each in chosen}
        listed = "; ".join(f"{name} has {', '.join(map(str, of))}" for name, of in seeds.items())
        raise UserError(
            f"no seed is done in all studies and findings ({listed}): runs are compared seed by seed; train the "
            "same ones with --set seeds=[0,1]"
        )
    return shared


def _margin(studies: Mapping[str, StudyRecord]) -> float:
    margins = {study.study.question.margin for study in studies.values()}
    if len(margins) > 1:
        raise UserError(
            f"the studies declare different margins ({', '.join(f'{each:g}' for each in sorted(margins))}): say "
            "which difference counts as none with --margin"
        )
    return margins.pop()
