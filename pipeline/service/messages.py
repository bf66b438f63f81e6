"""The JSON of the Open Inference Protocol: requests and responses."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline.core.task import ImageForm

Size = Annotated[int, Field(ge=0)]
Pixel = Annotated[int, Field(ge=0, le=255)]


class RequestModel(BaseModel):
    """A part of a request. Unknown keys are ignored; null counts as absent."""

    model_config = ConfigDict(extra="ignore", strict=True)


# a key that would change the meaning of the response, so that it cannot be ignored
NotSupported = Annotated[None, Field(description="Not supported.")]


class TensorParameters(RequestModel):
    """Parameters of an input or output tensor: memory shared by client and service."""

    shared_memory_region: NotSupported = None
    shared_memory_offset: NotSupported = None
    shared_memory_byte_size: NotSupported = None


class InputParameters(TensorParameters):
    """Parameters of an input tensor."""

    binary_data_size: Size | None = Field(
        default=None, description="The tensor's bytes, after the JSON."
    )


class InferInput(RequestModel):
    """An input tensor."""

    name: Literal["images"]
    shape: tuple[Size, Size, Size]
    datatype: Literal["UINT8"]
    parameters: InputParameters | None = None
    data: list[Any] | None = None


class OutputParameters(TensorParameters):
    """Parameters of an output tensor."""

    classification: NotSupported = None
    binary_data: bool | None = Field(
        default=None, description="Whether to send the tensor as bytes, after the JSON."
    )


class RequestedOutput(RequestModel):
    """A requested output tensor."""

    name: Literal["logits", "probabilities", "novelty"]
    parameters: OutputParameters | None = None


ALL_OUTPUTS = [
    RequestedOutput(name="logits"),
    RequestedOutput(name="probabilities"),
    RequestedOutput(name="novelty"),
]


class RequestParameters(RequestModel):
    """Parameters of a request."""

    binary_data_output: bool | None = Field(
        default=None, description="Whether to send all outputs as bytes, after the JSON."
    )


class InferRequest(RequestModel):
    """Images, and the requested outputs; all if none is named."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1, fail_fast=True)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=3, fail_fast=True)] | None = None


@cache
def request_model(form: ImageForm) -> type[InferRequest]:
    """The requests to a model whose images have this form."""
    height, width = form.height, form.width
    # one error per list is enough: there may be millions
    row: Any = Annotated[list[Pixel], Field(min_length=width, max_length=width, fail_fast=True)]
    image: Any = Annotated[list[row], Field(min_length=height, max_length=height, fail_fast=True)]
    flat: Any = Annotated[list[Pixel], Field(fail_fast=True)]
    nested: Any = Annotated[list[image], Field(fail_fast=True)]
    data = Field(default=None, description="Pixels, flat or nested by the shape.")
    shape: Any = tuple[Size, Literal[height], Literal[width]]  # type: ignore[valid-type]
    tensor: Any = create_model(
        "InferInput",
        __base__=InferInput,
        __doc__=InferInput.__doc__,
        shape=shape,
        data=(flat | nested | None, data),
    )
    inputs: Any = Annotated[list[tensor], Field(min_length=1, max_length=1, fail_fast=True)]
    return create_model(
        "InferRequest", __base__=InferRequest, __doc__=InferRequest.__doc__, inputs=inputs
    )


class InferOutput(BaseModel):
    """An output tensor."""

    name: str
    datatype: str
    shape: list[int]
    data: list[float]


class InferResponse(BaseModel):
    """The response in JSON."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]


class ServerMetadata(BaseModel):
    """The server."""

    name: str
    version: str = Field(description="The version of the HTTP interface.")
    extensions: list[str]


class ServerLive(BaseModel):
    """Whether the server is alive."""

    live: bool


class ServerReady(BaseModel):
    """Whether the server is ready."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model is ready."""

    name: str
    ready: bool


class TensorMetadata(BaseModel):
    """An input or output of a model; -1 in the shape is the number of images."""

    name: str
    datatype: str
    shape: list[int]


class ModelParameters(BaseModel):
    """What this service adds to the protocol's description of a model."""

    sha256: str = Field(description="The SHA-256 of the ONNX file.")
    release: int | None = Field(description="The number of the release; null if it is none.")
    data_set: str
    noun: str = Field(description="What one image shows.")
    labels: list[str] = Field(description="The classes, in the order of the outputs.")
    providers: list[str] = Field(description="The execution providers that the gate has judged.")


class ModelMetadata(BaseModel):
    """A model."""

    name: str
    versions: list[str] = Field(description="Those that the service has, the champion first.")
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: ModelParameters
