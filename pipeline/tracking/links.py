"""Where MLflow shows what is here: noted by the publisher, for whoever wants to point to it."""

import os
from typing import Any

from pipeline.core.environment import without_password
from pipeline.core.errors import UserError
from pipeline.core.files import read_json, sha256, write_json
from pipeline.core.workspace import Workspace
from pipeline.tracking import Part

HERE = "http://127.0.0.1:5000"  # where `make mlflow` shows a local store


def note(workspace: Workspace, part: Part, page: str) -> None:
    """Remember that what is here of this part is now shown on this page of MLflow's."""
    entry = {"of": _identity(workspace, part), "address": shown(page)}
    write_json(workspace.tracked, _noted(workspace) | {part: entry})


def shown(page: str) -> str:
    """The address at which people see a page of MLflow's.

    PIPELINE_MLFLOW_URL: the server's for people, where it differs from that for processes.
    """
    server = os.environ.get("PIPELINE_MLFLOW_URL") or os.environ["MLFLOW_TRACKING_URI"]
    address = without_password(server) if server.startswith(("http://", "https://")) else HERE
    return f"{address}/#/{page}"


def addresses(workspace: Workspace) -> dict[str, str]:
    """The address of each part that is published as it is here now."""
    noted, known = _noted(workspace), {}
    for part in Part:
        match noted.get(part):
            case {"of": str(of), "address": str(address)} if of == _identity(workspace, part):
                known[str(part)] = address
    return known


def _noted(workspace: Workspace) -> dict[str, Any]:
    try:
        return dict(read_json(workspace.tracked))
    except (UserError, TypeError, ValueError):  # missing or broken: made again when publishing
        return {}


def _identity(workspace: Workspace, part: Part) -> str | None:
    """What tells this one from others of its kind; None if there is none here, or it is broken."""
    try:
        match part:
            case Part.BACKPROP:
                return sha256(workspace.backprop_summary)
            case Part.TRAINING:
                return str(read_json(workspace.training_report)["run_id"])
            case Part.RELEASE:
                return sha256(workspace.released_model)
    except (UserError, KeyError, TypeError):
        return None
