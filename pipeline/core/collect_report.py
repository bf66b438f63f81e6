"""The reports on images from use: what was collected, and how a model does on the live test set."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from pipeline.core.report_file import Report


class CollectReport(Report):
    """What became of the images in the journal that have votes."""

    schema_version: Literal[1] = 1
    journal: str | None  #: `collect.journal`; null if nothing was to be collected
    images: int  #: number of images with votes
    foreign: int  #: number of these that are for another model or of another form
    training: dict[str, int]  #: number of images to train on, by class
    live: dict[str, int]  #: number of images in the live test set, by class
    #: number of images in the live test set whose labels are probably wrong
    doubtful_live: int
    refused: dict[str, int]  #: number of refused images, by reason
    feedback_sha256: str  #: SHA-256 of the file of images to train on
    live_sha256: str  #: SHA-256 of the live test set


class LiveReport(Report):
    """The quality of the exported model on the live test set, if that is large enough."""

    schema_version: Literal[1] = 1
    model_sha256: str  #: SHA-256 of the exported file
    live_sha256: str | None  #: SHA-256 of the live test set; null if there is none
    images: int  #: number of images in the live test set
    #: fraction of these images that are classified correctly; null if they are fewer than
    #: `evaluate.live_minimum`
    accuracy: Annotated[float, Field(ge=0, le=1)] | None
    accuracy_low: float | None  #: lower bound of the 95 % Clopper-Pearson interval of the accuracy
    accuracy_high: float | None  #: upper bound of that interval
    refused: float | None  #: fraction of these images that count as showing no class

    @model_validator(mode="after")
    def _all_is_measured_or_nothing(self) -> Self:
        figures = (self.accuracy, self.accuracy_low, self.accuracy_high, self.refused)
        if len({figure is None for figure in figures}) > 1:
            raise ValueError("some figures are missing")
        return self

    @property
    def measured(self) -> bool:
        """Whether the live test set is large enough to be judged."""
        return self.accuracy is not None
