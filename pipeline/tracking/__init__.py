"""Publishes reports/ to MLflow. The files are the source; a server only shows them.

`publisher` compares a server with the files and adds what is missing. It can run at any time, any
number of times, against any server, even one that was unreachable during training. `background`
runs it alongside a stage, `links` records the pages on which MLflow shows the workspace, and
`store` finds the server or database. `registry` publishes releases.
"""

from enum import StrEnum

from pipeline.core.variables import MLFLOW_DEFAULTS


class Component(StrEnum):
    """A part of a workspace that MLflow shows."""

    BACKPROP = "backprop"
    TRAINING = "training"
    RELEASE = "release"


for _variable in MLFLOW_DEFAULTS:  # MLflow reads these when it is imported
    _variable.set_default()
