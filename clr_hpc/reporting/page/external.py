"""The page of an external validation: what it opens with, and what it holds."""

from clr_hpc.reporting import wording
from clr_hpc.reporting.figures import external as figures
from clr_hpc.reporting.figures.svg import legend
from clr_hpc.reporting.page.template import render_page
from clr_hpc.reporting.stats.bootstrap import RESAMPLES
from clr_hpc.reporting.stats.difference import Difference
from clr_hpc.reporting.stats.external import ExternalResults, SettingResult
from clr_hpc.reporting.tables import external as tables

MOST_NAMED = 20
"""Images in the page's lists; the JSON file has all."""


def render(results: ExternalResults) -> str:
    """Return the complete page."""
    record = results.evaluation.record
    judged = [each for each in results.settings if each.internal and each.external]
    best = [each for each in results.best if each in judged]
    numbered = [(number, each) for number, each in enumerate(results.settings) if each in best]
    return render_page(
        "external.html.jinja",
        heading=f"{record['study']}: external validation on {record['pack']['name']}",
        summary=_summary(results),
        answer=answer(results),
        overlap=record["overlap"],
        most_named=MOST_NAMED,
        legends={name: legend(figures.side_styles(), name) for name in ("auroc", "calibration")},
        auroc=figures.auroc_by_finding(best) if best else None,
        ranking=tables.ranking_table(results.settings),
        thresholds=tables.threshold_table(judged),
        calibration=tables.calibration_table(judged),
        curves=list(figures.calibration_curves(results.evaluation, numbered)),
        subgroups=tables.subgroup_table(results.subgroups),
        gaps=tables.gap_table(results.settings),
        draws=RESAMPLES,
        record=record,
        models=_models(results),
    )


MOST_SHARED = 0.1
"""Share of own test images above which the two sides are not judged as different patients."""


def answer(results: ExternalResults) -> list[str]:
    """Return the sentences that the page opens with: how much is lost on other patients, and who was left out."""
    sentences = [_mean(results), _overlap(results), _one_class(results), _gaps(results)]
    return [sentence for sentence in sentences if sentence]


def _mean(results: ExternalResults) -> str:
    mean = results.mean
    if mean is None:
        return "No finding has an AUROC with an interval on both sides, so there is no mean to compare."
    what = (
        f"the AUROC of {mean.tasks[0]}"
        if len(mean.tasks) == 1
        else f"the mean AUROC over {len(mean.tasks)} of {wording.count(_findings(results), 'finding')}"
        if len(mean.tasks) < _findings(results)
        else f"the mean AUROC over {wording.count(len(mean.tasks), 'finding')}"
    )
    external = f"{wording.number(mean.external.value)} (95 % CI {wording.between(mean.external.interval)})"
    return (
        f"On {_collection(results)}, {what} is {external}; on the study’s own test images it is "
        f"{wording.bounded(mean.internal.value, mean.internal.interval)}. "
        f"{_conclusion(mean.difference, _shared(results))}"
    )


def _collection(results: ExternalResults) -> str:
    known, name = results.evaluation.external.images, results.evaluation.record["pack"]["name"]
    images = wording.count(len(known.view), "image")
    return f"{images} of {wording.count(known.patients, 'patient')} of {name}"


def _findings(results: ExternalResults) -> int:
    """Return how many findings have classifiers on both sides; those without an interval are not in the mean."""
    return sum(1 for each in results.best if not each.setting.one_class and each.internal and each.external)


def _shared(results: ExternalResults) -> float:
    """Return the share of the images that are the study's own test images."""
    images = len(results.evaluation.external.images.view)
    return len(results.evaluation.record["overlap"]["tested"]) / max(images, 1)


def _conclusion(difference: Difference, shared: float) -> str:
    if shared > MOST_SHARED:
        return (
            f"This is no external validation: {100 * shared:.0f} % of these images are the study’s own test "
            "images, so the difference is not judged."
        )
    interval = difference.patient_interval
    text = f"Difference {wording.bounded(difference.value, interval, wording.signed)}"
    if interval is None:
        return f"{text}: too few patients to judge it."
    if interval.high < 0:
        return f"{text}: these models are worse on these patients than on those of their own collection."
    if interval.low > 0:
        return f"{text}: these models are better on these patients than on those of their own collection."
    return f"{text}: no difference is shown; a loss of more than {wording.number(-interval.low)} is excluded."


def _overlap(results: ExternalResults) -> str:
    overlap = results.evaluation.record["overlap"]
    seen, tested = len(overlap["seen_images"]), len(overlap["tested"])
    left_out, patients = wording.count(overlap["left_out"], "image"), len(overlap["seen_patients"])
    first = (
        f"Left out: {left_out} of {wording.count(patients, 'patient')}, since {wording.count(seen, 'file')} of "
        f"the pack {_is(seen)} among those of patients whom the study has trained or validated on."
        if seen
        else "Nobody is left out: no file is one of a patient whom the study has trained or validated on."
    )
    if not tested:
        return first
    return (
        f"{first} {wording.count(tested, 'file')} {_is(tested)} among the study’s own test images, and counted on "
        "both sides, which are therefore not quite of different patients."
    )


def _is(things: int) -> str:
    return "is" if things == 1 else "are"


def _one_class(results: ExternalResults) -> str:
    values = [
        f"{each.setting.task} {_bounded(each, 'external')}, on the own test images {_bounded(each, 'internal')}"
        for each in results.best
        if each.setting.one_class and each.internal and each.external
    ]
    return f"One-class models, AUROC of the score against the label: {'; '.join(values)}." if values else ""


def _bounded(result: SettingResult, side: str) -> str:
    auroc = getattr(result, side).measures["auroc"]
    return wording.bounded(auroc.value, auroc.interval) if auroc.value == auroc.value else "not defined"


def _gaps(results: ExternalResults) -> str:
    reasons = [f"{each.setting.task} ({why})" for each in results.best if (why := tables.gap(each))]
    return f"Not judged: {'; '.join(reasons)}." if reasons else ""


def _summary(results: ExternalResults) -> str:
    pack, own = results.evaluation.record["pack"], results.evaluation.internal.images
    which = "" if pack["split"] is None else f" in its split {pack['split']}"
    more = "" if len(results.settings) == len(results.best) else ", and in the tables all others"
    inside = f"{wording.count(len(own.view), 'image')} of {wording.count(own.patients, 'patient')}"
    outside = f"{wording.count(pack['images'], 'image')} of {wording.count(pack['patients'], 'patient')}{which}"
    return (
        f"Internal: the study’s own test split, {inside}. External: {pack['name']}, {outside}. "
        f"Of each finding the best setting on validation{more}, its seeds as an ensemble. "
        "Nothing was chosen or fitted on the external images."
    )


def _models(results: ExternalResults) -> list[tuple[str, str]]:
    return [
        (
            each.setting.task,
            f"{tables.setting_label(each)}; {wording.count(len(each.record['seeds']), 'seed')}, validation AUROC "
            f"{wording.number(each.record['validation_auroc'])}",
        )
        for each in results.best
    ]
