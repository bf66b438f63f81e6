"""MLflow, as a projection of files: what a server shows is read from reports/ and models/.

`publisher` compares a server with the files and adds what is missing, so it may run at any time,
any number of times, against any server, one that was away during training too. `background` runs
it beside a stage; `links` knows where MLflow shows what is here; `promotion` knows which model a
release replaced. Nothing outside this folder knows MLflow.
"""

import os
from enum import StrEnum
from pathlib import Path
from urllib.parse import quote

from pipeline.core.environment import lasting_folder

SQLITE = "sqlite:///"


class Part(StrEnum):
    """What is published."""

    BACKPROP = "backprop"
    TRAINING = "training"
    RELEASE = "release"


def lasting_address(address: str, root: Path) -> str:
    """The address of a workspace's store; in an experiment, whose folder goes, the checkout's."""
    folder, path = lasting_folder(root), address.removeprefix(SQLITE)
    if path == address or path.startswith("/") or folder == Path.cwd():
        return address
    return f"{SQLITE}{quote(str(folder))}/{path}"


def configure(root: Path) -> None:
    """Have this process use the store of the workspace at `root`, unless another one is named."""
    os.environ["MLFLOW_TRACKING_URI"] = lasting_address(
        os.environ.get("MLFLOW_TRACKING_URI") or f"{SQLITE}mlflow.db", root
    )


# MLflow reads these when it is imported
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; the files are safe, so better soon than never
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}.items():
    os.environ.setdefault(_name, _value)
