"""Six statistics of an image that say how it was written, whatever it shows.

Images: uint8 [N, H, W], light ink on black.
"""

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]
STATISTICS = {  # names, with titles
    "ink": "mean pixel, 0 to 1",
    "extent": "root mean square distance of the ink from its centre, pixels",
    "stroke_width": "stroke width, pixels",
    "contrast": "brightest 5% of the pixels minus the darkest half, 0 to 1",
    "border": "mean pixel of the outermost two rows and columns, 0 to 1",
    "centre": "distance of the centre of mass from the middle, pixels",
}
BORDER, BRIGHTEST = 2, 0.05


def image_statistics(images: Images) -> NDArray[np.float32]:
    """The statistics of each image, float32 [N, 6] in the order of STATISTICS.

    The stroke width is twice the ink divided by the total variation: a stroke of width w and
    length l has the ink w l and two edges of length l. It is 0 for an image of one colour, and so
    are extent and centre for one without ink.
    """
    pixels = images.astype(np.float32) / 255
    count, height, width = pixels.shape
    mass = pixels.sum((1, 2))
    rows, columns = np.arange(height, dtype=np.float32), np.arange(width, dtype=np.float32)
    least = np.where(mass > 0, mass, 1)  # avoids a division by 0
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row = np.where(mass > 0, pixels.sum(2) @ rows / least, middle_row)
    column = np.where(mass > 0, pixels.sum(1) @ columns / least, middle_column)
    variance = (
        (pixels.sum(2) * (rows - row[:, None]) ** 2).sum(1)
        + (pixels.sum(1) * (columns - column[:, None]) ** 2).sum(1)
    ) / least
    down = np.diff(pixels, axis=1, append=0)
    right = np.diff(pixels, axis=2, append=0)
    variation = np.sqrt(down**2 + right**2).sum((1, 2))
    ordered = np.sort(pixels.reshape(count, -1), axis=1)
    brightest = max(1, round(BRIGHTEST * height * width))
    inner = pixels[:, BORDER:-BORDER, BORDER:-BORDER].sum((1, 2))
    border_pixels = height * width - (height - 2 * BORDER) * (width - 2 * BORDER)
    return np.stack(
        [
            mass / (height * width),
            np.sqrt(np.maximum(variance, 0)),
            2 * mass / np.where(variation > 0, variation, np.inf),
            ordered[:, -brightest:].mean(1) - ordered[:, : height * width // 2].mean(1),
            (mass - inner) / border_pixels,
            np.hypot(row - middle_row, column - middle_column),
        ],
        axis=1,
    ).astype(np.float32)
