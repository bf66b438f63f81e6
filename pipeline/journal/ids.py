"""Ids of entries: UUIDs of version 7 (RFC 9562), which sort by time.

The 62 random bits after the version hold 26 random bits, 22 bits of a keyed digest, which tell ids
of this journal from others, and the place of the image among those of its request, 14 bits.
"""

import hashlib
import os
import time
import uuid
from functools import lru_cache
from typing import Any

PLACE_BITS, CHECK_BITS, RANDOM_BITS = 14, 22, 26
PLACES = 2**PLACE_BITS  # the highest number of images of a request
RANDOM_SHARE = 0.05  # of the entries, drawn for an unbiased estimate of the accuracy


def uuid7(key: bytes = b"", seconds: float | None = None) -> str:
    """A new id that `is_from` the journal with this key, made `seconds` after 1970, by default now.

    It is the id of the first image of a request; `following` gives those of the others.
    """
    milliseconds = time.time_ns() // 1_000_000 if seconds is None else int(1000 * seconds)
    drawn = int.from_bytes(os.urandom(5)) >> (40 - 12 - RANDOM_BITS)
    high = (milliseconds << 16) | 0x7000 | (drawn >> RANDOM_BITS)
    low = drawn & (2**RANDOM_BITS - 1)
    return _text(high, low, _check(key, high, low), 0)


def following(first: str, images: int) -> list[str]:
    """The ids of the images of a request, from that of the first. ValueError beyond PLACES."""
    if images > PLACES:
        raise ValueError(f"a request has at most {PLACES} images, not {images}")
    if images == 1:
        return [first]
    start, tail = first[:-4], int(first[-4:], 16)  # its lowest 14 bits are zero
    return [f"{start}{tail + place:04x}" for place in range(images)]


def is_from(text: str, key: bytes) -> bool:
    """Whether the text is an id, in lower case, that was made with this key."""
    try:
        parsed = uuid.UUID(text)
    except ValueError:
        return False
    high, low = parsed.int >> 64, parsed.int & (2**62 - 1)
    check = (low >> PLACE_BITS) & (2**CHECK_BITS - 1)
    made = _check(key, high, low >> (PLACE_BITS + CHECK_BITS))
    return parsed.version == 7 and str(parsed) == text and made == check


def seconds_of(text: str) -> float:
    """When an id was made, in seconds since 1970. ValueError if it is no id."""
    return (uuid.UUID(text).int >> 80) / 1000


def lowest(seconds: float) -> str:
    """The id that sorts before all that are made from then on, in seconds since 1970."""
    return str(uuid.UUID(int=int(1000 * seconds) << 80))


def share(text: str, purpose: str = "") -> float:
    """A number from 0 to 1, below 1, that depends on the id and the purpose alone.

    It is uniform over ids, and independent of the numbers for other purposes.
    """
    digest = hashlib.sha256(f"{purpose}{text}".encode()).digest()
    return (int.from_bytes(digest[:8]) >> 11) / 2**53  # as many bits as a float has


def is_random(text: str) -> bool:
    """Whether an entry is in the random sample, a RANDOM_SHARE of all entries."""
    return share(text, "random") < RANDOM_SHARE


def is_kept(text: str, kept: float) -> bool:
    """Whether the journal keeps an entry, if it keeps this share of all."""
    return kept >= 1 or share(text, "kept") < kept


def _check(key: bytes, high: int, low: int) -> int:
    digest = _keyed(key).copy()
    digest.update(high.to_bytes(8) + low.to_bytes(4))
    return int.from_bytes(digest.digest()) >> (24 - CHECK_BITS)


@lru_cache(16)
def _keyed(key: bytes) -> Any:
    """The start of a digest, which costs more than the rest of it."""
    return hashlib.blake2b(key=key, digest_size=3)


def _text(high: int, low: int, check: int, place: int) -> str:
    tail = (low << (CHECK_BITS + PLACE_BITS)) | (check << PLACE_BITS) | place
    text = f"{high:016x}{(0b10 << 62) | tail:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
