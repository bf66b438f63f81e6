"""The Open Inference Protocol, version 2, of KServe and Triton: JSON, with Triton's extension for
tensors as bytes after the JSON.

Source: https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md)
and https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md).
"""

import math
from typing import Any, NamedTuple

import numpy as np
import orjson
from pydantic import ValidationError

from pipeline import DISTRIBUTION
from pipeline.core.task import ImageForm
from pipeline.inference.classifier import Predictions
from pipeline.pictures.images import Images
from pipeline.service.messages import ALL_OUTPUTS, InferInput, request_model
from pipeline.service.pool import Roles, ServedModel

HEADER_LENGTH = "Inference-Header-Content-Length"


class Request(NamedTuple):
    """A parsed request."""

    id: str | None
    images: Images
    outputs: dict[str, bool]  # the requested outputs, and whether each is sent as bytes


class Response(NamedTuple):
    """A body, and the length of its JSON if bytes follow it."""

    body: bytes
    header_length: int | None


def read_request(body: bytes, header_length: int | None, form: ImageForm) -> Request:
    """Parse a body whose first `header_length` bytes are JSON; None: all. ValueError if invalid."""
    end = len(body) if header_length is None else header_length
    if end > len(body):
        raise ValueError(f"{HEADER_LENGTH} is {end}, but the body has {len(body)} bytes")
    try:
        request = request_model(form).model_validate_json(body[:end])
    except ValidationError as error:
        raise ValueError(_explain(error)) from error
    all_binary = bool(request.parameters and request.parameters.binary_data_output)
    outputs: dict[str, bool] = {}
    for output in request.outputs or ALL_OUTPUTS:
        binary = output.parameters.binary_data if output.parameters else None
        outputs[output.name] = all_binary if binary is None else binary
    return Request(request.id, _images(request.inputs[0], body[end:]), outputs)


def write_response(
    request: Request, identifier: str | None, model: ServedModel, predictions: Predictions
) -> Response:
    """Build the response to a request from the model's predictions. `identifier`: of the answer."""
    outputs: list[dict[str, Any]] = []
    tensors = []
    for name, binary in request.outputs.items():
        answer = np.ascontiguousarray(getattr(predictions, name))
        output: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(answer.shape)}
        if binary:
            tensors.append(answer.astype("<f4", copy=False).tobytes())
            output["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            output["data"] = answer.reshape(-1)
        outputs.append(output)
    content: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    content["outputs"] = outputs
    if identifier is not None:
        content["id"] = identifier
    header = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(b"".join([header, *tensors]), len(header) if tensors else None)


def server_metadata(model: ServedModel) -> dict[str, Any]:
    """The server as the protocol describes it, with the version of the model's interface."""
    version = model.signature.interface
    return {"name": DISTRIBUTION, "version": version, "extensions": ["binary_tensor_data"]}


def metadata(model: ServedModel, roles: Roles) -> dict[str, Any]:
    """A model as the protocol describes it; the parameters are an addition of this service.

    `roles`: the models of the service, whose versions are listed.
    """
    signature = model.signature
    shape = [-1, signature.height, signature.width]
    of_classes = [-1, len(signature.labels)]
    shapes = {"logits": of_classes, "probabilities": of_classes, "novelty": [-1]}
    return {
        "name": model.name,
        "versions": [each.version for _, each in roles.models()],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": shape}],
        "outputs": [
            {"name": name, "datatype": "FP32", "shape": shape} for name, shape in shapes.items()
        ],
        "parameters": {
            "sha256": model.sha256,
            "release": model.release,
            "data_set": signature.data_set,
            "noun": signature.noun,
            "labels": signature.labels,
            "providers": model.classifier.judged,
        },
    }


def _images(tensor: InferInput, after: bytes) -> Images:
    size = math.prod(tensor.shape)
    binary = tensor.parameters.binary_data_size if tensor.parameters else None
    if binary is not None:
        if tensor.data is not None:
            raise ValueError("images has both data and binary_data_size: send one of them")
        if binary != len(after) or binary != size:
            raise ValueError(
                f"images with shape {list(tensor.shape)} requires {size} bytes, but "
                f"binary_data_size is {binary}, and {len(after)} bytes follow the JSON"
            )
        return np.frombuffer(after, np.uint8).reshape(tensor.shape)
    if tensor.data is None or after:
        raise ValueError(
            "images requires either data, or binary_data_size with bytes after the JSON"
        )
    numbers = np.asarray(tensor.data, np.uint8)
    if numbers.size != size or numbers.shape not in (tensor.shape, (size,)):
        raise ValueError(
            f"data with shape {list(tensor.shape)} requires {size} numbers, not {numbers.size}"
        )
    return numbers.reshape(tensor.shape)


def _explain(error: ValidationError) -> str:
    found = error.errors(include_url=False, include_input=False, include_context=False)[:3]
    texts = (
        f"{'.'.join(map(str, fault['loc']))}: "
        + ("not supported" if fault["type"] == "none_required" else fault["msg"])
        for fault in found
    )
    return "; ".join(text.removeprefix(": ") for text in texts)
