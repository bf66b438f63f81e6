"""MLflow, as a projection of files: what a server shows is read from reports/.

`publisher` compares a server with the files and adds what is missing, so it may run at any time,
any number of times, against any server, also one that was away during training. `background` runs
it beside a stage; `links` knows where MLflow shows what is here; `store` is the server or database
that a workspace uses. Releases are the registry's: this package does not know them.
"""

import os
from enum import StrEnum

TRACKING_URI = "MLFLOW_TRACKING_URI"  # the variable that names the server, or `none`


class Component(StrEnum):
    """What MLflow shows of a workspace."""

    BACKPROP = "backprop"
    TRAINING = "training"
    RELEASE = "release"


# MLflow reads these when it is imported
for _name, _value in {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",  # seconds; the files are safe, so better soon than never
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
}.items():
    os.environ.setdefault(_name, _value)
