"""The requests of the loads: the image of a stroke, in the forms that servers take."""

import io
import json
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pipeline.core.task import ImageForm
from pipeline.inference.signature import Signature

JSON = {"Content-Type": "application/json"}
OURS, OURS_JSON, OURS_PNG = "ours, bytes", "ours, JSON", "ours, PNG"


class Request(NamedTuple):
    """An HTTP request with one image."""

    url: str
    headers: dict[str, str]
    body: bytes


def stroke(form: ImageForm) -> NDArray[np.uint8]:
    """The image [H, W] of a vertical stroke."""
    image = np.zeros((form.height, form.width), np.uint8)
    image[form.height // 6 : -form.height // 6, form.width // 2 - 1 : form.width // 2 + 2] = 255
    return image


def requests_of(address: str, signature: Signature) -> dict[str, Request]:
    """The stroke in the three forms that our service takes: OURS, OURS_JSON and OURS_PNG.

    `signature`: of the model that it serves at this address.
    """
    image = stroke(signature.form)
    tensor = {"name": "images", "shape": [1, *image.shape], "datatype": "UINT8"}
    binary = {"parameters": {"binary_data_size": image.size}}
    binary_output = {"parameters": {"binary_data_output": True}}
    header = json.dumps({"inputs": [tensor | binary], **binary_output}).encode()
    picture = io.BytesIO()
    Image.fromarray(image).save(picture, "PNG")
    data = {"data": image.ravel().tolist()}
    infer = f"{address}/v2/models/{signature.model}/infer"
    length = {"Inference-Header-Content-Length": str(len(header))}
    return {
        OURS: Request(infer, length, header + image.tobytes()),
        OURS_JSON: Request(infer, JSON, json.dumps({"inputs": [tensor | data]}).encode()),
        OURS_PNG: Request(f"{address}/predict", {"Content-Type": "image/png"}, picture.getvalue()),
    }
