"""Real digits for all tests, and one thread for each: they run beside each other."""

import gzip
import os

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch or copies the environment

import numpy as np
import pytest
import yaml

from pipeline.mnist import idx
from tests.digits import Images
from tests.workspace import PROJECT


@pytest.fixture(scope="session")
def mnist() -> tuple[Images, Images]:
    """The 10,000 test images of real MNIST and their labels."""
    mirrors = yaml.safe_load((PROJECT / "params.yaml").read_text())["fetch"]["mirrors"]
    names = ["t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"]
    for folder in [PROJECT / mirror for mirror in mirrors if "://" not in mirror]:
        if all((folder / name).exists() for name in names):
            images, labels = (gzip.decompress((folder / name).read_bytes()) for name in names)
            return idx.decode(images, 3), idx.decode(labels, 1)
    pytest.skip("no folder among fetch.mirrors of params.yaml holds MNIST")


@pytest.fixture(scope="session")
def ten(mnist: tuple[Images, Images]) -> Images:
    """A real image of each digit, in order."""
    images, labels = mnist
    return np.stack([images[labels == digit][0] for digit in range(10)])
