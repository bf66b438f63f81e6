"""The process of a flow run."""

from pathlib import Path

from pipeline.core import loopback, supervisor, variables
from pipeline.core.workspace import Workspace


def prepare(folder: str | None) -> Workspace:
    """Prepare this process for a flow run; returns the workspace in `folder`.

    By default, that is the workspace that contains the current folder. Under a worker, the process
    ends with the worker. UserError if there is no workspace.
    """
    loopback.bypass_proxy()
    if variables.PREFECT_WORKER_NAME.get() is not None:
        supervisor.exit_with_parent()
    return Workspace.at(Path(folder)) if folder else Workspace.find()
