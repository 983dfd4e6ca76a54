"""Errors on corrupted images, and the mean corruption error of ImageNet-C."""

from collections.abc import Mapping

import numpy as np

#: Errors of AlexNet on ImageNet-C, means over five severities, of the authors' code for Hendrycks and Dietterich,
#: Benchmarking Neural Network Robustness to Common Corruptions and Perturbations, ICLR 2019, arXiv 1903.12261.
ALEXNET_ERRORS = {
    "gaussian_noise": 0.886428,
    "shot_noise": 0.894468,
    "impulse_noise": 0.922640,
    "defocus_blur": 0.819880,
    "glass_blur": 0.826268,
    "motion_blur": 0.785948,
    "zoom_blur": 0.798360,
    "snow": 0.866816,
    "frost": 0.826572,
    "fog": 0.819324,
    "brightness": 0.564592,
    "contrast": 0.853204,
    "elastic_transform": 0.646056,
    "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}
NUM_SEVERITIES = 5

Errors = Mapping[str, Mapping[int, float]]  # top-1 error by corruption and severity


def mean_error(errors: Errors) -> float:
    """Return the mean over the corruptions of the mean error over their severities."""
    return float(np.mean([np.mean(list(by_severity.values())) for by_severity in errors.values()]))


def relative_error(corruption: str, by_severity: Mapping[int, float]) -> float | None:
    """Return the error summed over five severities in units of AlexNet's, CE of the paper; None if it is unknown."""
    if corruption not in ALEXNET_ERRORS or len(by_severity) != NUM_SEVERITIES:
        return None
    return float(np.mean(list(by_severity.values()))) / ALEXNET_ERRORS[corruption]


def mean_corruption_error(errors: Errors) -> float | None:
    """Return mCE, the mean `relative_error` of the paper's 15 corruptions; None unless all have five severities."""
    relative = [relative_error(corruption, errors.get(corruption, {})) for corruption in ALEXNET_ERRORS]
    return None if None in relative else float(np.mean(relative))
