"""The Open Inference Protocol, version 2, of KServe and Triton: JSON, and Triton's extension by
which tensors follow the JSON as bytes.

Source: https://github.com/kserve/open-inference-protocol (specification/protocol/inference_rest.md)
and https://github.com/triton-inference-server/server (docs/protocol/extension_binary_data.md).
"""

import math
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.pictures.images import SIDE, Images

NAME = "mnist-cnn"
HEADER_LENGTH = "Inference-Header-Content-Length"
Size = Annotated[int, Field(ge=0)]
Pixel = Annotated[int, Field(ge=0, le=255)]
# of a list the first fault is enough: there may be millions
Flat = Annotated[list[Pixel], Field(fail_fast=True)]
Row = Annotated[list[Pixel], Field(min_length=28, max_length=28, fail_fast=True)]
Image = Annotated[list[Row], Field(min_length=28, max_length=28, fail_fast=True)]
Nested = Annotated[list[Image], Field(fail_fast=True)]


class Part(BaseModel):
    """A part of a request; what the service does not know is left aside, null is absence."""

    model_config = ConfigDict(extra="ignore", strict=True)


# what would give the answer another meaning, so that it cannot be left aside
NotSupported = Annotated[None, Field(description="not supported")]


class TensorParameters(Part):
    """Of an input or output tensor: memory that client and service would share."""

    shared_memory_region: NotSupported = None
    shared_memory_offset: NotSupported = None
    shared_memory_byte_size: NotSupported = None


class InputParameters(TensorParameters):
    """Of an input tensor."""

    binary_data_size: Size | None = Field(default=None, description="its bytes, behind the JSON")


class InferInput(Part):
    """An input tensor."""

    name: Literal["images"]
    shape: tuple[Size, Literal[28], Literal[28]]
    datatype: Literal["UINT8"]
    parameters: InputParameters | None = None
    data: Flat | Nested | None = Field(default=None, description="flat, or nested as the shape")


class OutputParameters(TensorParameters):
    """Of an output tensor."""

    classification: NotSupported = None
    binary_data: bool | None = Field(default=None, description="as bytes, behind the JSON")


class RequestedOutput(Part):
    """An output tensor that is wanted."""

    name: Literal["logits", "probabilities"]
    parameters: OutputParameters | None = None


ALL_OUTPUTS = [RequestedOutput(name="logits"), RequestedOutput(name="probabilities")]


class RequestParameters(Part):
    """Of a request."""

    binary_data_output: bool | None = Field(
        default=None, description="all outputs as bytes, behind the JSON"
    )


class InferRequest(Part):
    """Images, and which outputs are wanted; both if none is named."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1, fail_fast=True)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=2, fail_fast=True)] | None = None


class InferOutput(BaseModel):
    """An output tensor."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class InferResponse(BaseModel):
    """The answer in JSON."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


class Request(NamedTuple):
    """What a request is about."""

    id: str | None
    images: Images
    outputs: dict[str, bool]  # the outputs that are wanted, and whether as bytes


class Response(NamedTuple):
    """A body, and where its JSON ends if bytes follow it."""

    body: bytes
    header_length: int | None


def read_request(body: bytes, header_length: int | None) -> Request:
    """What a body asks, of which so many bytes are JSON (None: all). ValueError if it is wrong."""
    end = len(body) if header_length is None else header_length
    if end > len(body):
        raise ValueError(f"{HEADER_LENGTH} is {end}, but the body has {len(body)} bytes")
    try:
        request = InferRequest.model_validate_json(body[:end])
    except ValidationError as error:
        raise ValueError(_explain(error)) from error
    all_binary = bool(request.parameters and request.parameters.binary_data_output)
    outputs: dict[str, bool] = {}
    for output in request.outputs or ALL_OUTPUTS:
        binary = output.parameters.binary_data if output.parameters else None
        outputs[output.name] = all_binary if binary is None else binary
    return Request(request.id, _images(request.inputs[0], body[end:]), outputs)


def write_response(
    request: Request, version: str, answers: dict[str, NDArray[np.float32]]
) -> Response:
    """The response to a request with these outputs, float32 [N, 10]."""
    outputs: list[dict[str, Any]] = []
    tensors = []
    for name, binary in request.outputs.items():
        answer = np.ascontiguousarray(answers[name])
        output: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(answer.shape)}
        if binary:
            tensors.append(answer.astype("<f4", copy=False).tobytes())
            output["parameters"] = {"binary_data_size": len(tensors[-1])}
        else:
            output["data"] = answer.reshape(-1)
        outputs.append(output)
    content: dict[str, Any] = {"model_name": NAME, "model_version": version, "outputs": outputs}
    if request.id is not None:
        content["id"] = request.id
    header = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(b"".join([header, *tensors]), len(header) if tensors else None)


def metadata(version: str) -> dict[str, Any]:
    """What the protocol tells about the model."""
    return {
        "name": NAME,
        "versions": [version],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, SIDE, SIDE]}],
        "outputs": [
            {"name": output.name, "datatype": "FP32", "shape": [-1, 10]} for output in ALL_OUTPUTS
        ],
    }


def _images(tensor: InferInput, after: bytes) -> Images:
    size = math.prod(tensor.shape)
    binary = tensor.parameters.binary_data_size if tensor.parameters else None
    if binary is not None:
        if tensor.data is not None:
            raise ValueError("images have both data and binary_data_size")
        if binary != len(after) or binary != size:
            raise ValueError(
                f"images of shape {list(tensor.shape)} are {size} bytes, but binary_data_size is "
                f"{binary}, and {len(after)} bytes follow the JSON"
            )
        return np.frombuffer(after, np.uint8).reshape(tensor.shape)
    if tensor.data is None or after:
        raise ValueError("images have either data, or binary_data_size with bytes after the JSON")
    numbers = np.asarray(tensor.data, np.uint8)
    if numbers.size != size or numbers.shape not in (tensor.shape, (size,)):
        raise ValueError(
            f"data of shape {list(tensor.shape)} are {size} numbers, not {numbers.size}"
        )
    return numbers.reshape(tensor.shape)


def _explain(error: ValidationError) -> str:
    faults = error.errors(include_url=False, include_input=False, include_context=False)[:3]
    texts = (
        f"{'.'.join(map(str, fault['loc']))}: "
        + ("it is not supported" if fault["type"] == "none_required" else fault["msg"])
        for fault in faults
    )
    return "; ".join(text.removeprefix(": ") for text in texts)
