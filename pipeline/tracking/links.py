"""The pages on which MLflow shows a workspace, recorded when they are published."""

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
    """Record that this MLflow page shows the component in its current state."""
    entry = {"of": _identity(workspace, component), "address": shown(page)}
    write_json(workspace.tracked, _recorded(workspace) | {component: entry})


def shown(page: str) -> str:
    """The URL of an MLflow page for a browser.

    If the server has another address for browsers than for processes, PIPELINE_MLFLOW_URL names it.
    """
    server = variables.MLFLOW_URL.get() or variables.MLFLOW_TRACKING_URI.get() or ""
    address = without_password(server) if server.startswith(("http://", "https://")) else LOCAL
    return f"{address}/#/{page}"


def addresses(workspace: Workspace) -> dict[str, str]:
    """The URL of each component that is published in its current state."""
    recorded, known = _recorded(workspace), {}
    for component in Component:
        match recorded.get(component):
            case {"of": str(of), "address": str(address)} if of == _identity(workspace, component):
                known[str(component)] = address
    return known


def _recorded(workspace: Workspace) -> dict[str, Any]:
    try:
        return dict(read_json(workspace.tracked))
    except (UserError, TypeError, ValueError):  # missing or broken: rewritten later
        return {}


def _identity(workspace: Workspace, component: Component) -> str | None:
    """An id of the component's current state; None if it is missing or broken."""
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
