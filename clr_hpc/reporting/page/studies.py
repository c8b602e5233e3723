"""The page of a comparison of studies: what it opens with, and what it holds."""

from collections.abc import Mapping

import matplotlib as mpl
from markupsafe import Markup

from clr_hpc.reporting import wording
from clr_hpc.reporting.figures.svg import INK, MUTED, Dot, Styles, arm_styles, dots, drawing_style, legend, to_svg
from clr_hpc.reporting.page.answer import ranking
from clr_hpc.reporting.page.template import render_page
from clr_hpc.reporting.read.study import StudyRecord
from clr_hpc.reporting.stats.bootstrap import RESAMPLES
from clr_hpc.reporting.stats.studies import StudiesCompared
from clr_hpc.reporting.tables import studies as tables


def render(compared: StudiesCompared, studies: Mapping[str, StudyRecord]) -> str:
    """Return the complete page."""
    styles = arm_styles({name: name for name in studies})
    return render_page(
        "studies.html.jinja",
        heading=f"{wording.listed(list(studies))} compared",
        summary=_summary(compared, studies),
        answer=answer(compared),
        caveats=_caveats(compared),
        legend=legend(styles, "studies"),
        auroc=_aurocs(compared, styles),
        differences=_differences(compared, styles),
        means=tables.mean_table(compared),
        findings=tables.finding_table(compared.findings),
        studies=studies,
        pack=next(iter(studies.values())).pack["checksum"],
    )


def answer(compared: StudiesCompared) -> str:
    """Return which study is best on validation, and what the test split says of the others."""
    return ranking(compared.comparison, "finding")


def _summary(compared: StudiesCompared, studies: Mapping[str, StudyRecord]) -> str:
    findings = len({each.chosen.finding for each in compared.findings})
    return (
        f"{wording.count(len(studies), 'study')} on {wording.count(findings, 'finding')} and the same "
        f"{wording.count(compared.images, 'test image')} of {wording.count(compared.patients, 'patient')}. Each "
        "study by its best setting of each finding on validation, as predict takes it; "
        f"{wording.count(len(compared.seeds), 'seed')} of each."
    )


def _caveats(compared: StudiesCompared) -> list[str]:
    if len(compared.seeds) == 1:
        verdicts = "Every CI is over test patients, for these very models: it says nothing of other training runs."
    else:
        verdicts = (
            "“Better” and “worse”: a difference of zero is excluded with 95 % confidence, over test patients and "
            f"training runs; “equivalent”: a difference of {compared.margin:g} or more is excluded. Verdicts are "
            "adjusted for all pairs of studies (Holm’s method)."
        )
    bootstrap = f"The CI of an AUROC itself is over patients alone ({RESAMPLES:,} bootstrap draws)."
    left_out = compared.comparison.left_out
    return [
        f"{verdicts} {bootstrap} Single findings are exploratory.",
        *([f"Left out of the means: {'; '.join(left_out)}."] if left_out else []),
    ]


def _aurocs(compared: StudiesCompared, styles: Styles) -> Markup:
    entries = [
        Dot(row.chosen.finding, row.chosen.study, row.auroc, row.interval, gap="not defined")
        for row in compared.findings
    ]
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, styles)
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=":")
        axes.set_title("Test AUROC, 95 % CI over patients")
        axes.set_xlabel("AUROC (dotted: chance level)")
        return to_svg(figure, "studies auroc", "Test AUROC by finding and study; numbers: findings.csv")


def _differences(compared: StudiesCompared, styles: Styles) -> Markup | None:
    entries = [
        Dot(row.chosen.finding, row.chosen.study, row.difference.value, row.difference.patient_interval)
        for row in compared.findings
        if row.difference is not None
    ]
    if not entries:
        return None
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, styles)
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_title("Difference from the reference, 95 % CI")
        axes.set_xlabel("← reference better · difference in AUROC · better →")
        return to_svg(figure, "studies differences", "Differences from the reference; numbers: findings.csv")
