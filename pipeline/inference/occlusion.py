"""Shows on which parts of an image an answer depends: the parts are erased one at a time.

Occlusion: Zeiler and Fergus 2014, "Visualizing and Understanding Convolutional Networks". Measured
in log-odds, as probabilities near 1 hardly change: Robnik-Šikonja and Kononenko 2008, "Explaining
Classifications for Individual Instances".
"""

import numpy as np
from numpy.typing import NDArray

from pipeline.core.task import ImageForm
from pipeline.inference.session import OnnxModel

PATCHES = 5  # per side of the square that bounds the ink


def occlusion_maps(model: OnnxModel, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """By how much the log-odds of the most probable class fall if the ink around a pixel is erased.

    `images`: uint8 [N, H, W]. Returns float32 [N, H, W], in nats: the mean over the patches that
    cover a pixel. Below 0, the ink counts against the class. All copies are one batch.
    """
    masks = _masks(model.signature.form)
    n, patch = np.nonzero((masks & (images[:, None] > 0)).any((2, 3)))  # others erase nothing
    copies = np.where(masks[patch], 0, images[n]).astype(np.uint8, copy=False)
    logits = model.run(np.concatenate([images, copies])).logits
    classes = logits[: len(images)].argmax(1)
    odds = _log_odds(logits, np.concatenate([classes, classes[n]]))
    falls = np.zeros((len(images), len(masks)), np.float32)
    falls[n, patch] = odds[n] - odds[len(images) :]
    maps: NDArray[np.float32] = np.tensordot(falls, masks / masks.sum(0), 1).astype(np.float32)
    return maps


def _masks(form: ImageForm) -> NDArray[np.bool_]:
    """Square patches, bool [patches, H, W], each of which overlaps the next by half."""
    step = max(1, round(form.ink / PATCHES / 2))
    spans = []
    for side in form.shape:
        starts, places = np.arange(-step, side, step)[:, None], np.arange(side)
        spans.append((starts <= places) & (places < starts + 2 * step))
    rows, columns = spans
    return (rows[:, None, :, None] & columns[None, :, None, :]).reshape(-1, *form.shape)


def _log_odds(logits: NDArray[np.float32], classes: NDArray[np.int64]) -> NDArray[np.float32]:
    """ln(p / (1 - p)) of a class of each image, float32 [N]: of logits [N, all]."""
    index = np.arange(len(logits))
    others = logits.copy()
    others[index, classes] = -np.inf
    highest = others.max(1)
    rest = np.log(np.exp(others - highest[:, None]).sum(1)) + highest
    odds: NDArray[np.float32] = logits[index, classes] - rest
    return odds
