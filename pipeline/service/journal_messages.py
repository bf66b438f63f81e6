"""The JSON of labels and of the review queue: requests and responses."""

import unicodedata
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictInt, StrictStr

JOURNAL_ID = "Journal-Id"  # the header of answers that are kept


class Feedback(BaseModel):
    """What an image shows."""

    model_config = ConfigDict(extra="forbid")
    id: Annotated[str, Field(description="The id in the answer.")]
    label: Annotated[
        StrictStr | StrictInt,
        Field(description="One of the labels, or the verdict that the image shows none."),
    ]


def _one_spelling(name: object) -> object:
    """A name without spaces that nobody sees, and in one of the encodings that look alike."""
    if not isinstance(name, str):
        return name
    return " ".join(filter(None, unicodedata.normalize("NFC", name).split(" ")))


class ReviewedLabel(Feedback):
    """What an image shows, as a reviewer says."""

    name: Annotated[
        str,
        BeforeValidator(_one_spelling),
        Field(pattern=r"^[\w.@-][\w .@-]{0,63}$", description="The reviewer's name."),
    ]


class Recorded(BaseModel):
    """The label that was recorded."""

    id: str
    label: str


class ReviewItem(BaseModel):
    """An image to label."""

    id: str
    image: list[list[int]] = Field(description="Rows of pixels.")
    reason: str = Field(
        description="Why it is in the queue: `random`, it is in the random sample; `vote` or "
        "`challenger`, a user or the challenger disagrees with the answer; `margin`, two labels "
        "were about as probable; `novelty`, it looks like none."
    )


class ReviewQueue(BaseModel):
    """The next images to label."""

    items: list[ReviewItem]
    waiting: dict[str, int] = Field(description="How many wait, by reason, without `skip`.")
