"""The verdict of the release rule, as the stage `release` and the ledger of releases state it."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from pipeline.core.report_file import Report


class Verdict(StrEnum):
    """What the release rule says about a candidate."""

    FIRST = "first"  # there is nothing to compare with
    BETTER = "better"
    NOT_INFERIOR = "not inferior"
    INFERIOR = "inferior"  # not shown to be within the margin
    UNDECIDED = "undecided"  # cannot be compared: a person decides


# verdicts that make a candidate the champion
PROMOTED = (Verdict.FIRST, Verdict.BETTER, Verdict.NOT_INFERIOR)


On = Literal["test set", "live test set"]  # the latter: labelled images from use
TEST_SET: On = "test set"
LIVE_TEST_SET: On = "live test set"


class Comparison(BaseModel):
    """A candidate compared with another model on a test set."""

    model_config = Report.model_config
    baseline: str  #: the other model: `champion`, `best release` or a file
    sha256: str  #: SHA-256 of its ONNX file
    on: On = TEST_SET  #: set of images: `test set` or `live test set`
    images: Annotated[int, Field(ge=1)]  #: number of images in this set
    only_baseline_right: int  #: number of images that only the other model classifies correctly
    only_candidate_right: int  #: number of images that only the candidate classifies correctly
    difference: float  #: error rate of the candidate minus that of the other model
    upper_bound: float  #: one-sided upper confidence bound of that difference
    #: `release.margin`, or `release.live_margin`: the bound must be less
    margin: float
    level: float  #: error probability of the bound: `release.alpha` / `release.looks`


class ReleaseReport(Report):
    """The verdict of the release rule on one exported model."""

    schema_version: Literal[1] = 1
    model_sha256: str  #: SHA-256 of the exported file
    test_sha256: str  #: SHA-256 of the test set
    live_sha256: str | None = None  #: SHA-256 of the live test set; null if it is not judged
    verdict: Verdict  #: verdict of the rule
    reason: str  #: the verdict in a sentence
    #: whether the model is only registered because the champion was chosen by a rollback
    held: bool
    release: int | None  #: number of the release; null if the model is not registered
    look: int | None  #: how many candidates were compared on this test set, with this one
    looks: int  #: `release.looks`: the number of comparisons over which `release.alpha` is spent
    comparisons: tuple[Comparison, ...]  #: the comparisons, with the champion and the best release
