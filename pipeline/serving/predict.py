"""python -m pipeline predict: image files to digits."""

import json
from pathlib import Path

import numpy as np
from tabulate import tabulate

from pipeline.serving.images import read_images
from pipeline.serving.session import OnnxModel


def run(files: list[Path], model: Path, *, normalise: bool, as_json: bool) -> None:
    """Print digit and probabilities of every image, as a table or as JSON lines."""
    sets = [(path, read_images(path, normalise=normalise)) for path in files]
    probabilities = OnnxModel(model).run(np.concatenate([images for _, images in sets]))[1]
    names = [
        f"{path}[{index}]" if len(images) > 1 else str(path)
        for path, images in sets
        for index in range(len(images))
    ]
    if as_json:
        for name, row in zip(names, probabilities, strict=True):
            answer = {"image": name, "digit": int(row.argmax()), "confidence": float(row.max())}
            print(json.dumps({**answer, "probabilities": [float(value) for value in row]}))
        return
    rows = [
        [name, row.argmax(), f"{row.max():.2%}", *(f"{value:.3f}" for value in row)]
        for name, row in zip(names, probabilities, strict=True)
    ]
    print(
        tabulate(
            rows, ["image", "digit", "confidence", *map(str, range(10))], disable_numparse=True
        )
    )
