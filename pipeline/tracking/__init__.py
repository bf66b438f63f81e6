"""MLflow, as a projection of files: what a server shows is read from reports/.

`publisher` compares a server with the files and adds what is missing, so it may run at any time,
any number of times, against any server, also one that was away during training. `background` runs
it beside a stage; `links` knows where MLflow shows what is here; `store` is the server or database
that a workspace uses. Releases are the registry's: this package does not know them.
"""

from enum import StrEnum

from pipeline.core.variables import MLFLOW_DEFAULTS


class Component(StrEnum):
    """What MLflow shows of a workspace."""

    BACKPROP = "backprop"
    TRAINING = "training"
    RELEASE = "release"


for _variable in MLFLOW_DEFAULTS:  # MLflow reads them when it is imported
    _variable.set_default()
