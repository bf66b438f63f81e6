"""The model signature: the description of an exported model in its ONNX metadata.

Code that uses a model reads its classes, image form, training image statistics, thresholds and
interface version from the signature instead of defining constants.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from pipeline.core.reports import PredictionSet
from pipeline.core.task import NO_INK, SEVERAL, UNSURE, ImageForm, Task

KEY = "signature"  # in the metadata
INTERFACE: Literal["2"] = "2"  # version of the names, types and shapes of inputs and outputs
EXPECTED = (
    f"but this version of the pipeline requires one with interface {INTERFACE}; "
    "`make repro` releases such a model"
)


class Signature(BaseModel):
    """The description that the stage `export` writes into the file."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    interface: Literal["2"] = INTERFACE
    model: str  # name of the model: mnist-cnn
    data_set: str  # name of the data set: MNIST
    noun: str  # what an image shows: digit
    labels: Annotated[tuple[str, ...], Field(min_length=2)]  # names of the classes, in order
    height: Annotated[int, Field(ge=8)]  # pixels
    width: Annotated[int, Field(ge=8)]
    ink: Annotated[int, Field(ge=4)]  # pixels; see ImageForm
    mean_pixel_deciles: Annotated[tuple[float, ...], Field(min_length=9, max_length=9)]
    novelty_threshold: float  # an image of higher novelty shows none of the classes
    # rules of the prediction sets, by increasing coverage; answers follow the last
    sets: Annotated[tuple[PredictionSet, ...], Field(min_length=1)]
    parameters: int  # number of parameters of the classifier
    data_sha256: str  # SHA-256 of the training set
    weights_sha256: str  # SHA-256 of the classifier's weights
    detector_sha256: str  # SHA-256 of the detector's weights

    @model_validator(mode="after")
    def _ink_fits(self) -> "Signature":
        if self.ink > min(self.height, self.width):
            raise ValueError(f"ink: {self.ink} does not fit {self.height} x {self.width} pixels")
        return self

    @property
    def subject(self) -> str:
        """What the model classifies, in the plural: MNIST digits."""
        plural = f"{self.noun}s"
        return self.data_set if plural in self.data_set.lower() else f"{self.data_set} {plural}"

    @property
    def a_noun(self) -> str:
        """The noun with its article: a digit."""
        return f"{'an' if self.noun[0].lower() in 'aeiou' else 'a'} {self.noun}"

    @property
    def foreign(self) -> str:
        """The verdict on an image that shows none of the classes: not a digit."""
        return f"not {self.a_noun}"

    @property
    def verdicts(self) -> tuple[str, ...]:
        """All verdicts; the last two come from reading a picture."""
        return self.noun, UNSURE, self.foreign, NO_INK, SEVERAL

    @property
    def form(self) -> ImageForm:
        """The form of the images that the model takes."""
        return ImageForm(height=self.height, width=self.width, ink=self.ink)

    @classmethod
    def of(cls, task: Task, **facts: Any) -> "Signature":
        """The signature of a model of this task; `facts` are the fields that the task lacks."""
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
        """The metadata from which `from_metadata` restores the signature."""
        return {KEY: self.model_dump_json()}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Signature":
        """The signature in a file's metadata. ValueError if it is missing or invalid."""
        if KEY not in metadata:
            raise ValueError(f"it has no model signature, {EXPECTED}")
        try:
            return cls.model_validate_json(metadata[KEY])
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ValueError(
                f"its model signature is not valid at {where or 'the top level'}: {first['msg']}, "
                f"{EXPECTED}"
            ) from error
