"""Real digits and a finished pipeline for all tests; one thread each: they run side by side."""

import gzip
import os
import shutil
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before anything imports torch or copies the environment


import numpy as np
import pytest
import yaml
from filelock import FileLock

from pipeline.core import idx
from tests.digits import Images
from tests.workspace import PROJECT, Workspace, use_letters

# minutes each; begun last, one of them would keep one core waiting for it
SLOW = ["flow", "tracking", "training", "cluster", "dag", "service", "release", "page"]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow files where two processes share them."""
    order = {f"test_{name}.py": place for place, name in enumerate(SLOW)}
    if "PYTEST_XDIST_WORKER" in os.environ:
        items.sort(key=lambda item: order.get(item.path.name, len(order)))


@pytest.fixture(scope="session")
def mnist() -> tuple[Images, Images]:
    """The 10,000 test images of real MNIST and their labels."""
    images, labels = _of_mnist("t10k")
    return idx.decode(images, 3), idx.decode(labels, 1)


@pytest.fixture(scope="session")
def training() -> tuple[Images, Images]:
    """The first 300 training images of real MNIST and their labels, to tune things by."""
    images, labels = _of_mnist("train", 300)
    return (
        np.frombuffer(images, np.uint8, 300 * 784, offset=16).reshape(300, 28, 28),
        np.frombuffer(labels, np.uint8, 300, offset=8),
    )


def _of_mnist(kind: str, number: int | None = None) -> list[bytes]:
    """The files of images and labels, unpacked as far as so many images reach."""
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
    pytest.skip("no folder among fetch.mirrors of params.yaml holds MNIST")


@pytest.fixture(scope="session")
def ten(mnist: tuple[Images, Images]) -> Images:
    """A real image of each digit, in order."""
    images, labels = mnist
    return np.stack([images[labels == digit][0] for digit in range(10)])


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace that `dvc repro` took from data to release, without MLflow: to be copied.

    All processes of a test run have the same one, which the first that needs it makes. What DVC
    said meanwhile is in .dvc/tmp/repro.log.
    """
    return _released(tmp_path_factory, "finished", "dvc", "repro")


@pytest.fixture(scope="session")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A workspace like `finished`, but of another task: 26 letters, learned and released."""
    return _released(tmp_path_factory, "letters", "dvc", "repro", "release", prepare=use_letters)


def _released(
    tmp_path_factory: pytest.TempPathFactory,
    name: str,
    *command: str,
    prepare: Callable[[Workspace], None] = lambda workspace: None,
) -> Workspace:
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    with FileLock(shared / f"{name}.lock"):
        path = shared / name / "project"
        if (path / ".dvc/tmp/repro.log").exists():
            return Workspace.at(path)
        shutil.rmtree(path.parent, ignore_errors=True)  # of one that failed
        workspace = Workspace(path)
        prepare(workspace)
        result = workspace.run(
            *command, env=workspace.environment | {"MLFLOW_TRACKING_URI": "none"}
        )
        assert result.returncode == 0, result.stdout + result.stderr
        (path / ".dvc/tmp/repro.log").write_text(result.stdout)
        return workspace
