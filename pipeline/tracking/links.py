"""Where MLflow shows what is here: recorded when publishing, for whoever wants to link to it."""

from typing import Any

from pipeline.core import variables
from pipeline.core.environment import without_password
from pipeline.core.errors import UserError
from pipeline.core.files import read_json, sha256, write_json
from pipeline.core.reports import TrainingReport
from pipeline.core.workspace import Workspace
from pipeline.tracking import Component

LOCAL = "http://127.0.0.1:5000"  # where `make mlflow` shows a local store


def record(workspace: Workspace, component: Component, page: str) -> None:
    """Remember that this page of MLflow's shows the component as it is here now."""
    entry = {"of": _identity(workspace, component), "address": shown(page)}
    write_json(workspace.tracked, _recorded(workspace) | {component: entry})


def shown(page: str) -> str:
    """The address at which people see a page of MLflow's.

    PIPELINE_MLFLOW_URL: the server's for people, where it differs from that for processes.
    """
    server = variables.MLFLOW_URL.get() or variables.MLFLOW_TRACKING_URI.get() or ""
    address = without_password(server) if server.startswith(("http://", "https://")) else LOCAL
    return f"{address}/#/{page}"


def addresses(workspace: Workspace) -> dict[str, str]:
    """The address of each component that is published as it is here now."""
    recorded, known = _recorded(workspace), {}
    for component in Component:
        match recorded.get(component):
            case {"of": str(of), "address": str(address)} if of == _identity(workspace, component):
                known[str(component)] = address
    return known


def _recorded(workspace: Workspace) -> dict[str, Any]:
    try:
        return dict(read_json(workspace.tracked))
    except (UserError, TypeError, ValueError):  # missing or broken: written again when publishing
        return {}


def _identity(workspace: Workspace, component: Component) -> str | None:
    """What tells this one from others of its kind; None if there is none here, or it is broken."""
    try:
        match component:
            case Component.BACKPROP:
                return sha256(workspace.backprop_summary)
            case Component.TRAINING:
                return TrainingReport.read(workspace.training_report).run_id
            case Component.RELEASE:
                return sha256(workspace.released_model)
    except UserError:
        return None
