"""Images that are read together, some of which may have errors."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from pipeline.core.errors import first_line
from pipeline.core.task import ImageForm
from pipeline.pictures.grey import Picture
from pipeline.pictures.images import Images, in_form
from pipeline.pictures.marks import NotOneCharacter

Pictures = Sequence[Picture] | Images  # [N, H, W], or of different sizes


class Batch(NamedTuple):
    """N images, their names, and why some cannot be classified."""

    ids: list[str]
    images: Images  # [N, H, W]; black where there is an error
    errors: list[str | None]
    verdicts: list[str | None]  # NO_INK or SEVERAL, with an error: the picture itself can be read


def batch_of(
    ids: list[str],
    pictures: Sequence[Picture | str] | Images,
    form: ImageForm,
    *,
    normalise: bool,
) -> Batch:
    """Pictures in the model's form. An item may be an error instead of a picture."""
    try:
        if isinstance(pictures, np.ndarray):
            read: Pictures = pictures
        else:
            read = [picture for picture in pictures if not isinstance(picture, str)]
        if len(read) == len(ids):
            none: list[str | None] = [None] * len(ids)
            return Batch(ids, in_form(read, form, normalise=normalise), none, [*none])
    except ValueError:
        pass  # one of them cannot be used
    images = np.zeros((len(ids), *form.shape), np.uint8)
    errors: list[str | None] = [None] * len(ids)
    verdicts = [*errors]
    for n, picture in enumerate(pictures):
        if isinstance(picture, str):
            errors[n] = picture
            continue
        try:
            images[n] = in_form([picture], form, normalise=normalise)[0]
        except ValueError as error:
            errors[n] = f"{ids[n]}: {first_line(error)}"
            verdicts[n] = error.verdict if isinstance(error, NotOneCharacter) else None
    return Batch(ids, images, errors, verdicts)


def convert(
    ids: list[str], rows: Any, pictures_of: Callable[[Any], Images]
) -> Images | list[Images | str]:
    """`pictures_of` all rows, [N, H, W]; if it raises ValueError, of each row separately.

    An unusable row gives an error instead of a picture.
    """
    try:
        return pictures_of(rows)
    except ValueError:
        pass  # one of them cannot be used
    found: list[Images | str] = []
    for n, name in enumerate(ids):
        try:
            found.append(pictures_of(rows[n : n + 1])[0])
        except ValueError as error:
            found.append(f"{name}: {first_line(error)}")
    return found
