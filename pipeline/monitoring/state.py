"""monitor.json: what watching has found so far, and where it resumes."""

from collections.abc import Collection
from pathlib import Path
from typing import Final, Literal

from pydantic import BaseModel, Field

from pipeline.core.report_file import Report
from pipeline.core.reports import Moment
from pipeline.monitoring.quality import Accuracy

STATE = "monitor.json"
WINDOWS = 500  # windows that are kept
EVENTS = 100  # events that are kept
DRIFT: Final = "drift.found"
QUALITY: Final = "quality.fell"
LABELS: Final = "labels.enough"
Kind = Literal["drift.found", "quality.fell", "labels.enough"]


class Event(BaseModel):
    """A change that somebody should hear of, once."""

    model_config = Report.model_config
    id: str  #: a UUID that depends on the cause alone: a repeated event has the same
    kind: Kind  #: what has begun
    time: Moment  #: of the last entry that caused it
    message: str  #: a sentence
    sent: bool = False  #: to Prefect


class Judged(BaseModel):
    """The result of one window of images."""

    model_config = Report.model_config
    first: str  #: id of its first entry
    last: str  #: id of its last entry
    time: Moment  #: of its last entry
    images: int  #: in it
    threshold: float  #: a p-value below it raises an alarm
    p_values: dict[str, float]  #: by test
    alarm: bool  #: a p-value is below the threshold
    distances: dict[str, float]  #: Kolmogorov-Smirnov's distance from the reference, by statistic
    means: dict[str, float]  #: mean by statistic
    classes: dict[str, float]  #: share of the images by predicted class
    novelty: float  #: share of the images that show none of the classes
    estimated: Accuracy | None  #: without labels; None if no image shows a class


class State(Report):
    """What watching knows of one model and one size of windows."""

    schema_version: Literal[1] = 1
    model: str  #: name
    model_sha256: str  #: SHA-256 of the ONNX file
    window: int  #: images, if it is full
    reference_images: int  #: images that the windows are compared with
    reference_accuracy: float  #: on the reference
    reference_means: dict[str, float]  #: mean by image statistic
    reference_classes: dict[str, float]  #: share by predicted class
    reference_novelty: float  #: share that shows none of the classes
    threshold: float  #: of a full window
    judged: int = 0  #: windows so far
    alarms: int = 0  #: windows that raised an alarm
    waiting: int = 0  #: entries after the last window
    windows: tuple[Judged, ...] = ()  #: the last ones
    measured: Accuracy | None = None  #: on the random sample's reviewed images of a class, if any
    labels: int = 0  #: entries of this model that are labelled with a class
    review: dict[str, int] = Field(default_factory=dict)  #: images in the review queue by reason
    set_back: Moment | None = None  #: when it was seen that the clock is before the last window
    finished: Moment  #: when the journal was last read
    events: tuple[Event, ...] = ()  #: the last ones

    @property
    def last(self) -> Judged | None:
        """The last window."""
        return self.windows[-1] if self.windows else None

    @property
    def drift(self) -> bool:
        """Whether the last window raised an alarm."""
        return bool(self.last and self.last.alarm)

    @property
    def fell(self) -> bool:
        """Whether the accuracy fell: the measured one or, in the last window, the estimated one."""
        estimated = self.last.estimated if self.last else None
        return any(each is not None and each.fell for each in (self.measured, estimated))

    @property
    def unsent(self) -> tuple[Event, ...]:
        """The events that nobody has heard of."""
        return tuple(event for event in self.events if not event.sent)

    def with_sent(self, ids: Collection[str]) -> "State":
        """The same, with the events that have these ids sent."""
        events = tuple(
            event.model_copy(update={"sent": True}) if event.id in ids else event
            for event in self.events
        )
        return self.model_copy(update={"events": events})


def state_file(folder: Path) -> Path:
    """The path of the state in a folder of reports."""
    return folder / STATE
