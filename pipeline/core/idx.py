"""The IDX format of the MNIST files: two zero bytes, the data type, the number of dimensions, their
sizes as big-endian 32-bit integers, and the data."""

import math
import mmap
import struct

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 0x08
TYPES = {
    0x08: "unsigned byte",
    0x09: "signed byte",
    0x0B: "16-bit integer",
    0x0C: "32-bit integer",
    0x0D: "32-bit float",
    0x0E: "64-bit float",
}


def decode(data: bytes | mmap.mmap, dimensions: int) -> NDArray[np.uint8]:
    """Decode an IDX file of unsigned bytes with this number of dimensions.

    ValueError names the field if the header or the length of the data is wrong.
    """
    header = 4 + 4 * dimensions
    if len(data) < header:
        raise ValueError(f"an IDX header has {header} bytes, but there are only {len(data)}")
    zeros, kind, count = struct.unpack(">HBB", data[:4])
    if zeros != 0:
        raise ValueError(f"not an IDX file: it starts with {data[:2].hex()}, not 0000")
    if kind != UNSIGNED_BYTE:
        name = TYPES.get(kind, "unknown")
        raise ValueError(f"the data type is 0x{kind:02x} ({name}), not 0x08 (unsigned byte)")
    if count != dimensions:
        labels = ": these are labels, not images" if (count, dimensions) == (1, 3) else ""
        raise ValueError(f"the data has {count} dimensions, not {dimensions}{labels}")
    shape = struct.unpack(f">{dimensions}I", data[4:header])
    if math.prod(shape) != len(data) - header:
        sizes = " x ".join(map(str, shape))
        raise ValueError(f"the shape {sizes} does not match {len(data) - header} bytes of data")
    return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def encode(array: NDArray[np.uint8]) -> bytes:
    """Encode an array as an IDX file."""
    header = struct.pack(">HBB", 0, UNSIGNED_BYTE, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
