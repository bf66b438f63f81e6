"""How well altered test images are recognised by their hashes, and how many others match."""

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.collection.hashes import distances, perceptual_hashes
from pipeline.core.task import ImageForm
from pipeline.pictures.normal_form import bring_into_form

Images = NDArray[np.uint8]
ENLARGED = 10  # times, before a picture is brought into the form again
OTHERS = "other images of the same kind"


def measure(
    test: Images, others: Images, form: ImageForm, count: int, limits: Sequence[int]
) -> list[dict[str, Any]]:
    """For each alteration of `count` test images: the share recognised, by limit in bits.

    The last row is that of `others`, which are no test images.
    """
    random = np.random.default_rng(1)
    chosen = test[np.sort(random.permutation(len(test))[:count])]
    hashes = perceptual_hashes(test)
    rows = []
    altered = alterations(chosen, form, random)
    altered[OTHERS] = others[np.sort(random.permutation(len(others))[:count])]
    for title, images in altered.items():
        found = distances(images, hashes)
        shares = {str(limit): float((found <= limit).mean()) for limit in limits}
        rows.append({"images": title, "recognised": shares})
    return rows


def alterations(images: Images, form: ImageForm, random: np.random.Generator) -> dict[str, Images]:
    """The images, uint8 [N, H, W], altered as pictures are on their way."""
    noise = random.normal(0, 10, images.shape)
    rotated = [
        np.asarray(Image.fromarray(each).rotate(3, Image.Resampling.BILINEAR)) for each in images
    ]
    return {
        "test images as they are": images,
        "saved as JPEG, quality 75": np.stack([_jpeg(each) for each in images]),
        "darker by a fifth": (images * 0.8).astype(np.uint8),
        "contrast times 1.4": np.clip(images * 1.4, 0, 255).astype(np.uint8),
        "noise, standard deviation 10": np.clip(images + noise, 0, 255).astype(np.uint8),
        "shifted by a pixel": np.roll(images, 1, axis=2),
        "rotated by 3 degrees": np.stack(rotated),
        "enlarged and brought into the form again": np.stack([_again(i, form) for i in images]),
    }


def _jpeg(image: Images) -> Images:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=75)
    return np.asarray(Image.open(buffer))


def _again(image: Images, form: ImageForm) -> Images:
    size = (image.shape[1] * ENLARGED, image.shape[0] * ENLARGED)
    enlarged = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BICUBIC))
    return bring_into_form(255 - enlarged, form)
