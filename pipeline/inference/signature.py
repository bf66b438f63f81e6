"""The model signature: what an exported model says of itself in its ONNX metadata.

Whoever uses a model asks it and has no constants of its own: which classes there are, what its
images look like, what the training images looked like, which interface it has.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.core.task import ImageForm, Task

KEY = "signature"  # of the metadata
INTERFACE: Literal["1"] = "1"  # names, types and shapes of input and outputs
EXPECTED = (
    f"where this version of the pipeline expects one of interface {INTERFACE}; "
    "`make repro` releases a model that has it"
)


class Signature(BaseModel):
    """What the stage `export` writes into the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    interface: Literal["1"] = INTERFACE
    model: str  # its name, mnist-cnn
    data_set: str  # MNIST
    noun: str  # what an image shows, digit
    labels: Annotated[tuple[str, ...], Field(min_length=2)]  # of the classes, in order
    height: Annotated[int, Field(ge=8)]  # pixels
    width: Annotated[int, Field(ge=8)]
    ink: Annotated[int, Field(ge=4)]  # pixels: see ImageForm
    mean_pixel_deciles: Annotated[tuple[float, ...], Field(min_length=9, max_length=9)]
    parameters: int  # of the network as trained
    data_sha256: str  # of the training set
    weights_sha256: str

    @model_validator(mode="after")
    def _ink_fits(self) -> "Signature":
        if self.ink > min(self.height, self.width):
            raise ValueError(f"ink: {self.ink} does not fit {self.height} x {self.width} pixels")
        return self

    @property
    def subject(self) -> str:
        """What the model reads, in the plural: MNIST digits."""
        plural = f"{self.noun}s"
        return self.data_set if plural in self.data_set.lower() else f"{self.data_set} {plural}"

    @property
    def form(self) -> ImageForm:
        """The form of its images."""
        return ImageForm(height=self.height, width=self.width, ink=self.ink)

    @classmethod
    def of(cls, task: Task, **facts: Any) -> "Signature":
        """The signature of a model of this task; `facts`: the fields that the task does not say."""
        return cls(
            model=task.model,
            data_set=task.data_set,
            noun=task.noun,
            labels=task.labels,
            height=task.form.height,
            width=task.form.width,
            ink=task.form.ink,
            **facts,
        )

    def to_metadata(self) -> dict[str, str]:
        """The metadata that `from_metadata` reads back."""
        return {KEY: self.model_dump_json()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Signature":
        """The signature in a file's metadata. ValueError if there is none, or none of this form."""
        if KEY not in metadata:
            raise ValueError(f"it has no model signature, {EXPECTED}")
        try:
            return cls.model_validate_json(metadata[KEY])
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"its model signature is not valid, at {where or 'the whole'}: {first['msg']}, "
                f"{EXPECTED}"
            ) from error
