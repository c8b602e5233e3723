"""Make the page of an external validation, and its tables as CSV."""

from dataclasses import dataclass
from pathlib import Path

from clr_hpc.reporting.page import external as page
from clr_hpc.reporting.page.template import write_tables, write_text
from clr_hpc.reporting.read.evaluation import read
from clr_hpc.reporting.stats.external import evaluate
from clr_hpc.reporting.tables import external as tables


@dataclass(frozen=True, slots=True)
class EvaluationPage:
    """The page that was written, and the sentences that it opens with."""

    path: Path
    answer: tuple[str, ...]


def write_evaluation_page(folder: Path) -> EvaluationPage:
    """Write ``evaluation.html``, ``results.csv`` and ``subgroups.csv`` into a folder of ``evaluations/``.

    The same files give the same bytes.

    Args:
        folder: made by ``clr-hpc evaluate``; see docs/reference/formats.md.

    Raises:
        ReportError: nothing was evaluated there.
        DamagedError: what was is damaged.
    """
    results = evaluate(read(folder))
    of_results, of_subgroups = tables.results_csv(results), tables.subgroups_csv(results.subgroups)
    write_tables(folder, {"results.csv": of_results, "subgroups.csv": of_subgroups})
    path = write_text(folder / "evaluation.html", page.render(results))
    return EvaluationPage(path, tuple(page.answer(results)))
