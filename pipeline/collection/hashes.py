"""Digests and perceptual hashes of images, with which images are recognised without being kept.

A perceptual hash consists of the signs of the lowest frequencies of an image's cosine transform
(Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions"). Integer
arithmetic makes it the same on every machine. Two images are near each other if their hashes differ
in few bits, also after a shift by a pixel in any direction or with light and dark exchanged, which
changes every sign.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # [N, H, W]
Digests = NDArray[np.uint8]  # [N, 32]
Hashes = NDArray[np.uint64]  # [N, words]

FREQUENCIES = 16  # lowest ones, vertically and horizontally, of at least that many pixels
SCALE = 1 << 12  # of the cosines, as integers
SHIFTS = [(down, right) for down in (0, -1, 1) for right in (0, -1, 1)]  # pixels
BLOCK = 256  # images compared at a time, so that memory stays small


def digests(images: Images) -> Digests:
    """The SHA-256 of the pixels of each image."""
    rows = [hashlib.sha256(image.tobytes()).digest() for image in images]
    return np.frombuffer(b"".join(rows), np.uint8).reshape(len(images), 32)


def perceptual_hashes(images: Images) -> Hashes:
    """A bit for each frequency except the mean, padded with zeros to whole words."""
    height, width = images.shape[1:]
    vertical, horizontal = _cosines(height), _cosines(width)
    bits = []
    for start in range(0, len(images), BLOCK):
        block = images[start : start + BLOCK].astype(np.int64)
        amplitudes = vertical @ block @ horizontal.T
        bits.append(amplitudes.reshape(len(block), -1)[:, 1:] > 0)
    count = len(vertical) * len(horizontal) - 1
    joined = np.concatenate(bits) if bits else np.zeros((0, count), bool)
    padded = np.pad(joined, ((0, 0), (0, -count % 64)))
    return np.packbits(padded, axis=1).view("<u8").astype(np.uint64)


def distances(images: Images, hashes: Hashes) -> NDArray[np.int64]:
    """The bits [N] in which each image, shifted and inverted as is best, differs from the nearest.

    Without hashes, it is more than any hash has.
    """
    nearest = np.full(len(images), 64 * (hashes.shape[1] + 1), np.int64)
    if not len(hashes):
        return nearest
    for down, right in SHIFTS:
        shifted = perceptual_hashes(np.roll(images, (down, right), axis=(1, 2)))
        for start in range(0, len(images), BLOCK):
            rows = slice(start, start + BLOCK)
            differing = _differing(shifted[rows], hashes, _bits(images)).min(axis=1)
            nearest[rows] = np.minimum(nearest[rows], differing)
    return nearest


def near(images: Images, hashes: Hashes, limit: int) -> NDArray[np.bool_]:
    """Whether each image, shifted and inverted as is best, is near each hash: [N, len(hashes)].

    Near: up to `limit` bits differ.
    """
    found = np.zeros((len(images), len(hashes)), bool)
    for down, right in SHIFTS:
        shifted = perceptual_hashes(np.roll(images, (down, right), axis=(1, 2)))
        found |= _differing(shifted, hashes, _bits(images)) <= limit
    return found


def _bits(images: Images) -> int:
    """The number of bits in the hash of such an image, without the padding."""
    height, width = (min(FREQUENCIES, side) for side in images.shape[1:])
    return int(height * width - 1)


def _differing(one: Hashes, other: Hashes, bits: int) -> NDArray[np.uint16]:
    """The number of differing bits, or of equal ones if that is less: [len(one), len(other)]."""
    total = np.zeros((len(one), len(other)), np.uint16)
    for word in range(one.shape[1]):
        total += np.bitwise_count(one[:, word, None] ^ other[None, :, word])
    return np.minimum(total, bits - total)


def _cosines(pixels: int) -> NDArray[np.int64]:
    """The lowest frequencies of the cosine transform (DCT-II) as integers, [F, pixels]."""
    frequencies = np.arange(min(FREQUENCIES, pixels))[:, None]
    angles = np.pi * (np.arange(pixels) + 0.5) * frequencies / pixels
    return np.asarray(np.rint(SCALE * np.cos(angles)), np.int64)
