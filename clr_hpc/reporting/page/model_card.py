"""The model card of a bundle, in Markdown: the sections of Mitchell et al. 2019 (doi:10.1145/3287560.3287596)."""

from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import clr_hpc
from clr_hpc.config.network import network
from clr_hpc.config.pathologies import title
from clr_hpc.config.study import Study
from clr_hpc.reporting import wording
from clr_hpc.reporting.stats.card import CardResult
from clr_hpc.reporting.stats.metrics import Estimate
from clr_hpc.reporting.stats.run.parts import FEWEST_OF_A_CLASS
from clr_hpc.store.pack_record import PackRecord, label_counts


@dataclass(frozen=True, slots=True)
class Source:
    """The images that models were trained on."""

    kind: str
    """Of the pack's source, such as ``nih``."""
    size: int
    """Pixels a side in the pack."""
    terms: str
    """Under which they may be used; empty where that isn't known."""


def model_card(study: Study, pack: PackRecord, source: Source, results: tuple[CardResult, ...]) -> str:
    """Return the text of a card.

    Args:
        study: that trained the models.
        pack: on whose images.
        source: of the pack's images.
        results: of each finding.
    """
    environment = Environment(
        loader=PackageLoader("clr_hpc.reporting.page", "."),
        autoescape=False,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"cell": _cell, "number": wording.number, "whole": wording.whole, "title": title}
    environment.globals |= {"estimate": _estimate, "share": _share}
    groups = list(dict.fromkeys(group for result in results for group in result.groups))
    template = environment.get_template("model_card.md.jinja")
    text = template.render(
        version=clr_hpc.__version__,
        study=study,
        source=source,
        pack_checksum=pack["checksum"],
        splits=pack["counts"]["splits"] if "counts" in pack else {},
        select=study.training.select,
        counts=lambda split: label_counts(pack, split, study.training.select),
        classifiers=[result for result in results if result.models.is_binary],
        one_class=[result for result in results if not result.models.is_binary],
        results=results,
        groups=groups,
        networks=sorted({network(result.models.specs[0].architecture).title for result in results}),
        trained=[_trained(result) for result in results],
        fewest=FEWEST_OF_A_CLASS,
    )
    return text.rstrip() + "\n"


def _trained(result: CardResult) -> dict[str, Any]:
    """Return how a finding's models were trained, in the words of the report."""
    first = result.models.specs[0]
    return {
        "finding": result.models.finding,
        "network": network(first.architecture).title,
        "optimizer": first.optimizer.title,
        "policy": first.policy.title,
        "stage": wording.STAGE_TITLES[first.stage],
        "weights": wording.MODEL_TITLES[result.models.kind],
        "seeds": wording.listed([str(spec.seed) for spec in result.models.specs]),
        "epochs": first.training.epochs,
        "image_size": first.training.image_size,
        "validation_auroc": result.models.validation_auroc,
    }


def _estimate(found: Estimate | None) -> str:
    """Write a measure with its interval."""
    if found is None or found.value != found.value:
        return "–"
    if found.interval is None:
        return wording.number(found.value)
    return wording.bounded(found.value, found.interval)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"


def _cell(text: str) -> str:
    """Write text into a cell of a table."""
    return " ".join(str(text).split()).replace("|", "\\|")
