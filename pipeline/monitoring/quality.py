"""How accurate a model is in use: estimated without labels, and measured with them."""

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax
from scipy.stats import binomtest, norm

from pipeline.core.report_file import Report

CONFIDENCE = 0.95  # of intervals
FALL = 0.01  # accuracy lost before it counts as a fall
SIGNIFICANCE = 0.001  # of a fall
TEMPERATURES = (0.2, 5.0)


class Accuracy(BaseModel):
    """An accuracy in use, and whether it has fallen below that on held-out images."""

    model_config = Report.model_config
    images: int  #: images that it is about
    value: float  #: as a fraction
    low: float  #: lower end of the 95 % interval
    high: float  #: upper end
    fell: bool  #: it is significantly more than 0.01 below that on held-out images


def temperature(logits: NDArray[np.floating], labels: NDArray[np.integer]) -> float:
    """The temperature that makes the confidences of logits [N, classes] most like the labels [N].

    It minimises the cross-entropy. See Guo et al. 2017, "On Calibration of Modern Neural Networks".
    """

    def loss(log_temperature: float) -> float:
        scaled = logits.astype(float) / np.exp(log_temperature)
        true = scaled[np.arange(len(labels)), labels]
        return float((logsumexp(scaled, axis=1) - true).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(TEMPERATURES)), method="bounded")
    return float(np.exp(found.x))


def confidences(logits: NDArray[np.floating], temperature: float) -> NDArray[np.float64]:
    """The calibrated probability of the most probable class, [N]."""
    return np.asarray(softmax(logits.astype(float) / temperature, axis=1).max(1))


def estimate(confidences: NDArray[np.floating], held_out: float) -> Accuracy | None:
    """The accuracy on images whose labels are not known; None without images.

    `confidences`: [N], calibrated, of the images that are said to show a class; `held_out`: the
    accuracy on held-out images. If the confidences were right about these images, their number of
    right answers would have a Poisson binomial distribution; its normal limit gives the interval.
    """
    if not len(confidences):
        return None
    value = float(confidences.mean())
    deviation = float(np.sqrt((confidences * (1 - confidences)).sum())) / len(confidences)
    reach = norm.ppf((1 + CONFIDENCE) / 2) * deviation
    floor = held_out - FALL
    return Accuracy(
        images=len(confidences),
        value=value,
        low=max(0.0, value - reach),
        high=min(1.0, value + reach),
        fell=bool(value + norm.ppf(1 - SIGNIFICANCE) * deviation < floor),
    )


def measure(right: int, images: int, held_out: float) -> Accuracy | None:
    """The accuracy on images with labels, of which so many were answered right; None without any.

    Clopper and Pearson's interval, which is exact if the images are a random sample.
    """
    if not images:
        return None
    interval = binomtest(right, images).proportion_ci(CONFIDENCE)
    floor = max(0.0, held_out - FALL)
    test = binomtest(right, images, floor, alternative="less")
    return Accuracy(
        images=images,
        value=right / images,
        low=float(interval.low),
        high=float(interval.high),
        fell=bool(test.pvalue < SIGNIFICANCE),
    )
