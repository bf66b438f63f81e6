"""The JSON of the Open Inference Protocol: what a request may say, and what an answer says."""

from functools import cache
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, create_model

from pipeline.core.task import ImageForm

Size = Annotated[int, Field(ge=0)]
Pixel = Annotated[int, Field(ge=0, le=255)]


class RequestModel(BaseModel):
    """A part of a request; what the service does not know is left aside, null is absence."""

    model_config = ConfigDict(extra="ignore", strict=True)


# what would give the answer another meaning, so that it cannot be left aside
NotSupported = Annotated[None, Field(description="not supported")]


class TensorParameters(RequestModel):
    """Of an input or output tensor: memory that client and service would share."""

    shared_memory_region: NotSupported = None
    shared_memory_offset: NotSupported = None
    shared_memory_byte_size: NotSupported = None


class InputParameters(TensorParameters):
    """Of an input tensor."""

    binary_data_size: Size | None = Field(default=None, description="its bytes, behind the JSON")


class InferInput(RequestModel):
    """An input tensor."""

    name: Literal["images"]
    shape: tuple[Size, Size, Size]
    datatype: Literal["UINT8"]
    parameters: InputParameters | None = None
    data: list[Any] | None = None


class OutputParameters(TensorParameters):
    """Of an output tensor."""

    classification: NotSupported = None
    binary_data: bool | None = Field(default=None, description="as bytes, behind the JSON")


class RequestedOutput(RequestModel):
    """An output tensor that is wanted."""

    name: Literal["logits", "probabilities"]
    parameters: OutputParameters | None = None


ALL_OUTPUTS = [RequestedOutput(name="logits"), RequestedOutput(name="probabilities")]


class RequestParameters(RequestModel):
    """Of a request."""

    binary_data_output: bool | None = Field(
        default=None, description="all outputs as bytes, behind the JSON"
    )


class InferRequest(RequestModel):
    """Images, and which outputs are wanted; both if none is named."""

    id: str | None = None
    parameters: RequestParameters | None = None
    inputs: Annotated[list[InferInput], Field(min_length=1, max_length=1, fail_fast=True)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=2, fail_fast=True)] | None = None


@cache
def request_model(form: ImageForm) -> type[InferRequest]:
    """The requests of a model whose images have this form."""
    height, width = form.height, form.width
    # of a list the first fault is enough: there may be millions
    row: Any = Annotated[list[Pixel], Field(min_length=width, max_length=width, fail_fast=True)]
    image: Any = Annotated[list[row], Field(min_length=height, max_length=height, fail_fast=True)]
    flat: Any = Annotated[list[Pixel], Field(fail_fast=True)]
    nested: Any = Annotated[list[image], Field(fail_fast=True)]
    data = Field(default=None, description="flat, or nested as the shape")
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
    """The answer in JSON."""

    model_name: str
    model_version: str
    id: str | None = None
    outputs: list[InferOutput]
