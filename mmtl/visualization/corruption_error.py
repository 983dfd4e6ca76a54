"""Plot of errors on corrupted images."""

from matplotlib import colormaps
from matplotlib.figure import Figure

from mmtl.evaluation.corruption_error import ALEXNET_ERRORS, Errors, mean_error

BAR_INCHES = 0.14


def draw_corruption_errors(errors: Errors, clean: float | None, is_imagenet: bool) -> Figure:
    """Draw a group of bars for each corruption, one for each severity, darker for more.

    Args:
        errors: top-1 errors by corruption and severity.
        clean: error on clean images, a line; None if it is unknown.
        is_imagenet: whether to mark AlexNet's mean errors.
    """
    severities = sorted({severity for by_severity in errors.values() for severity in by_severity})
    width = 1 / (len(severities) + 1)
    inches = max(6, BAR_INCHES * len(errors) * (len(severities) + 1) + 1.5)
    figure = Figure((inches, 4.5), dpi=100, layout="constrained")
    axes = figure.subplots()
    for number, severity in enumerate(severities):
        has = [index for index, by_severity in enumerate(errors.values()) if severity in by_severity]
        heights = [100 * by_severity[severity] for by_severity in errors.values() if severity in by_severity]
        positions = [index + (number - (len(severities) - 1) / 2) * width for index in has]
        color = colormaps["viridis_r"]((number + 1) / (len(severities) + 1))
        axes.bar(positions, heights, width, color=color, label=f"severity {severity}")
    if clean is not None:
        axes.axhline(100 * clean, color="0.3", linestyle="--", linewidth=1, label=f"clean {100 * clean:.1f} %")
    known = [(index, ALEXNET_ERRORS[name]) for index, name in enumerate(errors) if name in ALEXNET_ERRORS]
    if is_imagenet and known:
        marks = dict(color="#D55E00", linewidth=2, label="AlexNet, mean of severities")
        starts, heights = [index - 0.45 for index, _ in known], [100 * error for _, error in known]
        axes.hlines(heights, starts, [start + 0.9 for start in starts], **marks)
    names = [name.replace("_", " ") for name in errors]
    axes.set_xticks(range(len(errors)), names, rotation=40, ha="right", rotation_mode="anchor", fontsize=9)
    axes.set(ylim=(0, 100), ylabel="top-1 error, %", xlim=(-0.6, len(errors) - 0.4))
    axes.set_title(f"mean over corruptions and severities {100 * mean_error(errors):.1f} %", fontsize=10)
    figure.legend(loc="outside lower center", ncols=4, fontsize=9, frameon=False)
    return figure
