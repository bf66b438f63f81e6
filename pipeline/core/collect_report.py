"""The reports on images from use: what was collected, and how a model does on the live test set."""

from typing import Literal

from pydantic import BaseModel

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


class LiveQuality(BaseModel):
    """The quality of a model on the live test set."""

    model_config = Report.model_config
    accuracy: float  #: fraction of the images that are classified correctly
    accuracy_low: float  #: lower bound of the 95 % Clopper-Pearson interval of the accuracy
    accuracy_high: float  #: upper bound of that interval
    refused: float  #: fraction of the images that count as showing no class


class LiveReport(Report):
    """The exported model on the live test set, if that is large enough."""

    schema_version: Literal[1] = 1
    model_sha256: str  #: SHA-256 of the exported file
    live_sha256: str | None  #: SHA-256 of the live test set; null if there is none
    images: int  #: number of images in the live test set
    #: what was measured; null if there are fewer images than `evaluate.live_minimum`
    quality: LiveQuality | None
