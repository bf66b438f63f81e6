"""MNIST and finished workspaces for all tests, with one thread per process."""

import gzip
import os
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch or copies the environment

import numpy as np
import pytest
import yaml

from pipeline.core import idx
from tests.checkout import PROJECT, Checkout, build_once, repro, use_letters
from tests.digits import Images

TESTS = Path(__file__).parent


# With two processes, slow files go first: started last, one would occupy a single
# core alone. The first two build the workspaces that others copy, one per core.
SLOW = ["flow", "tracking", "training", "cluster", "store", "service", "release"]  # minutes each
ORDER = [
    "containers/test_stack",
    *("e2e/test_dag", "e2e/test_letters"),
    *(f"integration/test_{name}.py" for name in SLOW),
    *("e2e", "integration", "unit"),
]
UNIT_SECONDS = 30  # limit of one unit test, on slow cores


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for two processes; limit the time of unit tests."""
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: _place(item.path))
    for item in items:
        if item.path.is_relative_to(TESTS / "unit"):
            item.add_marker(pytest.mark.timeout(UNIT_SECONDS))


def _place(path: Path) -> int:
    name = path.relative_to(TESTS).as_posix()
    return next((n for n, start in enumerate(ORDER) if name.startswith(start)), len(ORDER))


@pytest.fixture(scope="session")
def mnist() -> tuple[Images, Images]:
    """The 10,000 test images of MNIST and their labels."""
    images, labels = _of_mnist("t10k")
    return idx.decode(images, 3), idx.decode(labels, 1)


@pytest.fixture(scope="session")
def training() -> tuple[Images, Images]:
    """The first 300 training images of MNIST and their labels, for tuning."""
    images, labels = _of_mnist("train", 300)
    return (
        np.frombuffer(images, np.uint8, 300 * 784, offset=16).reshape(300, 28, 28),
        np.frombuffer(labels, np.uint8, 300, offset=8),
    )


def _of_mnist(kind: str, number: int | None = None) -> list[bytes]:
    """The files of images and labels, decompressed up to this number of images."""
    mirrors = yaml.safe_load((PROJECT / "params.yaml").read_text())["fetch"]["mirrors"]
    names = [f"{kind}-images-idx3-ubyte.gz", f"{kind}-labels-idx1-ubyte.gz"]
    for folder in [PROJECT / mirror for mirror in mirrors if "://" not in mirror]:
        if all((folder / name).exists() for name in names):
            length = -1 if number is None else 16 + 784 * number
            contents = []
            for name in names:
                with gzip.open(folder / name) as file:
                    contents.append(file.read(length))
            return contents
    pytest.skip("no folder in fetch.mirrors of params.yaml contains MNIST")


@pytest.fixture(scope="session")
def ten(mnist: tuple[Images, Images]) -> Images:
    """An MNIST image of each digit, in order."""
    images, labels = mnist
    return np.stack([images[labels == digit][0] for digit in range(10)])


@pytest.fixture(scope="session")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A workspace in which nothing has run yet; to be copied."""
    return build_once(tmp_path_factory, "fresh", Checkout)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, fresh: Checkout) -> Checkout:
    """A workspace after `dvc repro prepare`; to be copied."""
    return build_once(tmp_path_factory, "prepared", lambda path: repro(fresh.copy(path), "prepare"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, prepared: Checkout) -> Checkout:
    """A workspace after `dvc repro` without MLflow; to be copied.

    The output of DVC is in .dvc/tmp/repro.log.
    """
    return build_once(tmp_path_factory, "finished", lambda path: repro(prepared.copy(path)))


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory, fresh: Checkout) -> Checkout:
    """A workspace like `finished` for another task: 26 letters."""
    return build_once(
        tmp_path_factory, "letters", lambda path: repro(use_letters(fresh.copy(path)), "release")
    )


@pytest.fixture
def workspace(finished: Checkout, tmp_path: Path) -> Checkout:
    """A copy of the finished workspace for one test, without MLflow."""
    return finished.copy(tmp_path / "project", MLFLOW_TRACKING_URI="none")
