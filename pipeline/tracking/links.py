"""Where MLflow shows what is here: noted by the publisher, for whoever wants to point to it."""

import os
from typing import Any

from pipeline import paths
from pipeline.environment import without_password
from pipeline.errors import UserError
from pipeline.files import read_json, sha256, write_json
from pipeline.tracking import Part

HERE = "http://127.0.0.1:5000"  # where `make mlflow` shows a local store


def note(part: Part, path: str) -> None:
    """Remember that what is here of this part is now shown at this path of MLflow's pages.

    PIPELINE_MLFLOW_URL: their address for people, where it differs from that for processes.
    """
    server = os.environ.get("PIPELINE_MLFLOW_URL") or os.environ["MLFLOW_TRACKING_URI"]
    address = without_password(server) if server.startswith(("http://", "https://")) else HERE
    entry = {"of": _identity(part), "address": f"{address}/#/{path}"}
    write_json(paths.TRACKED, _noted() | {part: entry})


def addresses() -> dict[str, str]:
    """The address of each part that is published as it is here now."""
    return {
        part: entry["address"]
        for part, entry in _noted().items()
        if entry["of"] == _identity(Part(part))
    }


def _noted() -> dict[str, Any]:
    try:
        return dict(read_json(paths.TRACKED))
    except UserError:  # missing, or broken: it is made again when something is published
        return {}


def _identity(part: Part) -> str | None:
    """What tells this one from others of its kind; None if there is none here."""
    match part:
        case Part.BACKPROP:
            return sha256(paths.BACKPROP_SUMMARY) if paths.BACKPROP_SUMMARY.exists() else None
        case Part.TRAINING:
            return str(read_json(paths.SUMMARY)["run_id"]) if paths.SUMMARY.exists() else None
        case Part.RELEASE:
            return sha256(paths.RELEASED_MODEL) if paths.RELEASED_MODEL.exists() else None
