"""The columns of a journal: entries and votes."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

ENTRY_SCHEMA = pa.schema(
    [
        pa.field("id", pa.string(), nullable=False),
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
        # the model that answered
        pa.field("model", pa.string(), nullable=False),
        pa.field("version", pa.string(), nullable=False),
        pa.field("sha256", pa.string(), nullable=False),
        pa.field("release", pa.int32()),
        # what it got, height x width bytes, and its answer
        pa.field("pixels", pa.binary(), nullable=False),
        pa.field("probabilities", pa.list_(pa.float32()), nullable=False),
        pa.field("logits", pa.list_(pa.float32()), nullable=False),
        pa.field("verdict", pa.string(), nullable=False),
        pa.field("label", pa.string()),  # null if the image shows no class
        pa.field("novelty", pa.float32(), nullable=False),
        # the request
        pa.field("source", pa.string(), nullable=False),  # a keeping.Source
        pa.field("client", pa.string(), nullable=False),  # a keyed hash
        pa.field("latency", pa.float32(), nullable=False),  # seconds
        # the answer of the challenger, if there is one
        pa.field(
            "challenger",
            pa.struct([("version", pa.string()), ("label", pa.string()), ("verdict", pa.string())]),
        ),
        pa.field("random", pa.bool_(), nullable=False),  # whether it is in the random sample
    ]
)
VOTE_SCHEMA = pa.schema(
    [  # the fields of a Vote
        pa.field("id", pa.string(), nullable=False),  # of the entry
        pa.field("time", pa.timestamp("us", "UTC"), nullable=False),
        pa.field("voter", pa.string(), nullable=False),
        pa.field("label", pa.string(), nullable=False),
    ]
)
HEIGHT, WIDTH = b"height", b"width"  # in the metadata of a part: the form of its pixels


def entry_schema(height: int, width: int) -> pa.Schema:
    """The schema of a part whose images have this form."""
    return ENTRY_SCHEMA.with_metadata({HEIGHT: str(height).encode(), WIDTH: str(width).encode()})


def form_of(schema: pa.Schema) -> tuple[int, int]:
    """Height and width of the images in a part or batch. ValueError if it does not say."""
    metadata = schema.metadata or {}
    try:
        return int(metadata[HEIGHT]), int(metadata[WIDTH])
    except (KeyError, ValueError) as error:
        raise ValueError("it does not state the height and width of its images") from error


def pixels_of(batch: pa.RecordBatch) -> NDArray[np.uint8]:
    """The images of a batch of entries, uint8 [N, H, W]."""
    shape = form_of(batch.schema)
    pixels = b"".join(batch.column("pixels").to_pylist())
    return np.frombuffer(pixels, np.uint8).reshape(batch.num_rows, *shape)


def lists(values: NDArray[np.float32]) -> pa.ListArray:
    """The rows of [N, K] as a column of lists."""
    rows, width = values.shape
    offsets = np.arange(rows + 1, dtype=np.int32) * width
    return pa.ListArray.from_arrays(offsets, pa.array(np.ascontiguousarray(values).ravel()))


def blobs(images: NDArray[np.uint8]) -> pa.Array:
    """The images [N, H, W] as a column of bytes."""
    size = images[0].size if len(images) else 0
    offsets = np.arange(len(images) + 1, dtype=np.int32) * size
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(np.ascontiguousarray(images))]
    return pa.Array.from_buffers(pa.binary(), len(images), buffers)
