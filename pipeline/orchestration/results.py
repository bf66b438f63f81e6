"""Shows the results of a flow run: artifacts in Prefect, and a message to a webhook."""

import base64
import re
from pathlib import Path
from typing import Any

import requests
from prefect import artifacts, get_run_logger
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.settings import PREFECT_UI_URL

from pipeline.core import environment, variables
from pipeline.core.files import read_json
from pipeline.core.workspace import Workspace
from pipeline.orchestration import dag
from pipeline.tracking import links

UI = variables.PREFECT_UI_URL.default  # where `make prefect` serves it


def show(workspace: Workspace, stage: dag.Stage, *, complete: bool, images: bool) -> None:
    """Create artifacts from a stage's texts and, if it is `complete`, its metrics and `images`."""
    for path in stage.texts:
        if (file := workspace.root / path).exists():
            text = file.read_text(encoding="utf-8")
            artifacts.create_markdown_artifact(text, _key(path), str(path))
    for path in stage.metrics if complete else ():
        if isinstance(content := read_json(workspace.root / path), dict):
            rows = [{"metric": name, "value": value} for name, value in content.items()]
            artifacts.create_table_artifact(rows, _key(path), str(path))
    for path in stage.images if complete and images else ():
        content = (workspace.root / path).read_bytes()
        inline = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        artifacts.create_image_artifact(inline, _key(path), str(path))


def show_links(workspace: Workspace) -> None:
    """Create artifacts that link to the workspace's pages in MLflow."""
    for part, link in links.addresses(workspace).items():
        description = f"{part} in MLflow; `make mlflow` serves a local store"
        artifacts.create_link_artifact(link, key=f"mlflow-{part}", description=description)


def announce(state: State[Any]) -> None:
    """Post a release or a refusal to the URL in PIPELINE_WEBHOOK; never fails the run."""
    webhook = variables.WEBHOOK.get()
    if not webhook:
        return
    event = str(state.name).lower()
    content = {
        "event": event,
        "text": f"{flow_run.flow_name} {event}: {state.message}",
        "flow_run": {"id": flow_run.id, "name": flow_run.name, "url": address(flow_run.id)},
    }
    try:
        requests.post(webhook, json=content, timeout=10).raise_for_status()
    except requests.RequestException as error:  # its text may contain the URL, a secret
        get_run_logger().warning("PIPELINE_WEBHOOK: %s", type(error).__name__)


def address(run_id: object) -> str:
    """The URL of a flow run's page."""
    server = environment.without_password(PREFECT_UI_URL.value() or UI)
    return f"{server}/runs/flow-run/{run_id}"


def _key(path: Path) -> str:
    name = str(path.with_suffix("")).removeprefix("reports/")
    return re.sub("[^a-z0-9]+", "-", name.lower())
