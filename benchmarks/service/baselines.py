"""Other servers of the same model. To add one, add it to BASELINES."""

import json
import sys
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.service.request import JSON, Request
from pipeline.inference.providers import available_cores


class Baseline(NamedTuple):
    """A server to compare with; it is left out if its package is not installed."""

    package: str
    command: Callable[[Path, int], Sequence[str]]  # for a folder with an MLflow model, and a port
    health: str  # the path that answers once it serves
    request: Callable[[str, NDArray[np.uint8]], Request]  # to its address, with an image [H, W]


def _mlflow(workers: int) -> Callable[[Path, int], Sequence[str]]:
    def command(model: Path, port: int) -> Sequence[str]:
        serve = [sys.executable, "-m", "mlflow", "models", "serve", "--env-manager", "local"]
        return [*serve, "--model-uri", str(model), "--port", str(port), "--workers", str(workers)]

    return command


def _litserve(model: Path, port: int) -> Sequence[str]:
    serve = [sys.executable, "-m", "benchmarks.service.litserve_server"]
    return [*serve, str(model / "model.onnx"), str(port)]


def _prediction(address: str, image: NDArray[np.uint8]) -> Request:
    return Request(f"{address}/predict", JSON, json.dumps({"images": [image.tolist()]}).encode())


def _invocation(address: str, image: NDArray[np.uint8]) -> Request:
    body = json.dumps({"inputs": {"images": [image.tolist()]}}).encode()
    return Request(f"{address}/invocations", JSON, body)


BASELINES = {
    "MLflow, JSON": Baseline("mlflow", _mlflow(1), "/ping", _invocation),
    "MLflow per core, JSON": Baseline("mlflow", _mlflow(available_cores()), "/ping", _invocation),
    "LitServe, JSON": Baseline("litserve", _litserve, "/health", _prediction),
}


def installed() -> dict[str, Baseline]:
    """The baselines whose package is installed."""
    return {name: each for name, each in BASELINES.items() if find_spec(each.package) is not None}
