"""Dot plots and bar charts: label counts, AUROCs, accuracies, differences, false positives."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import matplotlib as mpl

from clr_hpc.config.pathologies import title
from clr_hpc.reporting.figures.picture import Legend, Picture, legend_of
from clr_hpc.reporting.figures.svg import BAR, INK, MUTED, Dot, Styles, dots, drawing_style, new_figure
from clr_hpc.reporting.stats.bootstrap import Interval
from clr_hpc.reporting.stats.compare import Comparison
from clr_hpc.reporting.stats.contrast import ArmContrast
from clr_hpc.reporting.stats.difference import Difference
from clr_hpc.reporting.stats.scoring import ResultRow

MEAN = "Mean over all"


def label_counts(counts: Mapping[str, int]) -> Picture:
    """Draw the number of images of each label, most frequent first."""
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    names = [title(label) for label, _ in ranked]
    numbers = [images for _, images in ranked]
    with mpl.rc_context(drawing_style()):
        figure, axes = new_figure(760, 34 + 24 * len(ranked), bottom=8, left=128)
        bars = axes.barh(names, numbers, color=BAR, height=0.7)
        axes.bar_label(bars, [f"{images:,}" for images in numbers], padding=5, color=INK)
        axes.invert_yaxis()
        axes.margins(x=0.1, y=0.01)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.tick_params(left=False, bottom=False, labelbottom=False)
        axes.set_title("Number of images by label")
        described = ", ".join(f"{name} {images}" for name, images in zip(names, numbers, strict=True))
        return Picture(figure, "labels", "Number of images by label", f"Bar chart: {described}")


def auroc_by_task(rows: Sequence[ResultRow], styles: Styles, key: str) -> Picture:
    """Draw one dot per arm and task with the interval of its AUROC; ``rows`` are of one model."""
    entries = [
        _dot(row, row.auroc.value, gap="not defined: one class" if row.done else "not done") for row in rows
    ]
    entries = [replace(dot, interval=row.auroc.interval) for dot, row in zip(entries, rows, strict=True)]
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, styles)
        axes.axvline(0.5, color=MUTED, linewidth=1, linestyle=":")
        axes.set_title("Test AUROC, 95 % CI")
        axes.set_xlabel("AUROC (dotted: chance level)")
        heading = f"Test AUROC by task and policy, {key}"
        return Picture(figure, f"auroc {key}", heading, "numbers: results.csv", _legend(styles, entries))


def training_accuracy_by_task(rows: Sequence[ResultRow], styles: Styles, key: str) -> Picture:
    """Draw one dot per arm and task for training accuracy; ``rows`` are of one model."""
    entries = [_dot(row, row.training_accuracy, mark=row.always_no_training_accuracy) for row in rows]
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, styles)
        axes.set_title("Training accuracy")
        axes.set_xlabel("Accuracy (gray mark: always answering “no”)")
        heading = f"Training accuracy by task and policy, {key}"
        return Picture(figure, f"accuracy {key}", heading, "numbers: results.csv", _legend(styles, entries))


def false_positives_by_task(rows: Sequence[ResultRow], styles: Styles, key: str) -> Picture:
    """Draw each one-class model's false-positive rate next to the one expected from its threshold's quantile."""
    entries = []
    for row in rows:
        rate, bounds = row.false_positive_rate
        entries.append(replace(_dot(row, rate, mark=row.setting.expected_false_positive_rate), interval=bounds))
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, styles)
        axes.set_title("False-positive rate, 95 % CI")
        axes.set_xlabel("Share above the threshold (gray mark: expected)")
        heading = f"False-positive rates, {key}"
        return Picture(figure, f"false positives {key}", heading, "numbers: results.csv", _legend(styles, entries))


def _legend(styles: Styles, entries: Sequence[Dot]) -> Legend:
    return legend_of(styles, (dot.contender for dot in entries))


def _dot(row: ResultRow, value: float, mark: float | None = None, gap: str = "") -> Dot:
    return Dot(row.setting.task, row.setting.arm, value, None, mark, gap)


def forest(contrasts: Sequence[ArmContrast], styles: Styles) -> Picture:
    """Draw the difference in AUROC of each arm of retraining from its control, task by task and on the mean."""
    entries = [
        Dot(task.task, contrast.arm, task.difference.value, task.difference.patient_interval)
        for contrast in contrasts
        for task in contrast.tasks
    ]
    entries += [
        Dot(MEAN, contrast.arm, contrast.difference.value, _widest(contrast.difference)) for contrast in contrasts
    ]
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, styles)
        axes.axvline(0, color=INK, linewidth=1)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.set_title("Test AUROC, retraining − control, 95 % CI")
        axes.set_xlabel("← control better · difference in AUROC · better than control →")
        heading = "Test AUROC of retraining minus that of its control"
        return Picture(
            figure, "auroc differences", heading, "Forest plot; numbers: contrasts.csv", _legend(styles, entries)
        )


def _widest(difference: Difference) -> Interval | None:
    """Return the interval over patients and training runs; over patients where there is but one seed."""
    return difference.interval or difference.patient_interval


def training_accuracy_differences(contrasts: Sequence[ArmContrast], styles: Styles) -> Picture:
    """Draw the difference of each arm from its control in training accuracy, the article's measure."""
    entries = [
        Dot(task.task, contrast.arm, task.training_accuracy_difference, None)
        for contrast in contrasts
        for task in contrast.tasks
    ]
    entries += [
        Dot(MEAN, contrast.arm, contrast.training_accuracy.value, contrast.training_accuracy.interval)
        for contrast in contrasts
    ]
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, styles)
        axes.axvline(0, color=INK, linewidth=1)
        axes.get_yticklabels()[-1].set_fontweight("bold")
        axes.set_title("Training accuracy, retraining − control")
        axes.set_xlabel("← control higher · difference · higher than control →")
        heading = "Training accuracy of retraining minus that of its control"
        return Picture(
            figure, "training accuracy differences", heading, "numbers: contrasts.csv", _legend(styles, entries)
        )


def models_side_by_side(comparisons: Mapping[str, Comparison], styles: Styles) -> Picture:
    """Draw the mean AUROC of last, averaged and snapshot models; ``comparisons`` are by arm."""
    entries = [
        Dot(arm, mean.name, mean.auroc, mean.interval)
        for arm, comparison in comparisons.items()
        for mean in sorted(comparison.contenders, key=lambda mean: list(styles).index(mean.name))
    ]
    with mpl.rc_context(drawing_style()):
        figure, axes = dots(entries, styles, width=760)
        axes.set_title("Mean test AUROC of the models of the same runs, 95 % CI")
        axes.set_xlabel("AUROC")
        heading = "AUROC of last, averaged and snapshot models"
        return Picture(figure, "models", heading, "numbers: models.csv", _legend(styles, entries))
