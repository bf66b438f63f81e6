"""The DAG of dvc.yaml as a Prefect flow: a task for each stage, which DVC runs or finds up to date.

    python -m pipeline flow                          with a Prefect server of its own
    prefect deployment run 'mnist-release/local'     by a worker: prefect.yaml

Nothing else knows Prefect.
"""

import base64
import logging
import os
import re
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import requests
from prefect import artifacts, flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun, State
from prefect.flows import Flow
from prefect.logging.loggers import flow_run_logger
from prefect.runtime import flow_run
from prefect.settings import PREFECT_UI_URL
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff

from pipeline import dag, environment, supervisor, workspace
from pipeline.errors import RefusedError, UserError
from pipeline.files import read_json, write_text
from pipeline.params import PARAMS
from pipeline.paths import METRICS
from pipeline.tracking import links

REFUSED, RELEASED = "Refused", "Released"  # ways for a flow run to end
CACHED = "Cached"  # and for a task
RELEASE = "release"  # the stage that does it
UI = "http://127.0.0.1:4200"  # where `make prefect` shows the runs of `python -m pipeline flow`


def call_webhook(flow: Flow[..., Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Post a release or a refusal to the address in PIPELINE_WEBHOOK; it never fails the run."""
    webhook = os.environ.get("PIPELINE_WEBHOOK")
    if not webhook or state.name not in (REFUSED, RELEASED):
        return
    event = {
        "event": state.name.lower(),
        "text": f"{flow.name} {state.name.lower()}: {state.message}",
        "flow_run": {"id": str(flow_run.id), "name": flow_run.name, "url": address(flow_run.id)},
    }
    try:
        requests.post(webhook, json=event, timeout=10).raise_for_status()
    except requests.RequestException as error:  # its text may hold the address, a secret
        flow_run_logger(flow_run, flow).warning("PIPELINE_WEBHOOK: %s", type(error).__name__)


@flow(name="mnist-release", on_completion=[call_webhook], on_failure=[call_webhook])
def mnist_release(
    targets: list[str] | None = None, force: bool = False, set_params: list[str] | None = None
) -> State[Any]:
    """Bring stages up to date as `dvc repro` does: data to gated release.

    Args:
        targets: stages to bring up to date, with all that they need; none: every stage
        force: run them even if nothing has changed
        set_params: values for params.yaml, where they stay, each as in train.epochs=2
    """
    logger = get_run_logger()
    if "PREFECT__WORKER_NAME" in os.environ:
        supervisor.end_with_parent()
    dag.read_plan(targets or [], set_params or [])  # mistakes are told at once
    states: dict[str, State[Any]] = {}
    with workspace.held(f"flow run {flow_run.name!r}", waiting=logger.warning) as lock:
        stages, settings, content = dag.read_plan(targets or [], set_params or [])
        if set_params:
            write_text(PARAMS, content)
            logger.info("%s now has %s", PARAMS, ", ".join(set_params))
        for stage in stages:
            states[stage.name] = repro.with_options(
                name=stage.name,
                task_run_name=stage.name,
                retries=settings.retries.get(stage.name, 0),
                retry_delay_seconds=exponential_backoff(settings.retry_delay),
                timeout_seconds=settings.timeouts.get(stage.name, settings.timeout),
            )(
                stage,
                force=force,
                lock=lock,
                wait_for=[states[name] for name in stage.needs if name in states],
                return_state=True,
            )
        end = conclude(states)
        for part, link in links.addresses().items():
            artifacts.create_link_artifact(link, key=f"mlflow-{part}", description=part)
    return end


def run(targets: list[str], *, force: bool, set_params: list[str]) -> None:
    """Run the flow here and now. RefusedError or UserError if it ends other than well."""
    # Ctrl-C is for the flow run; a server that is started for it lives on, to record how it ended
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        client = get_client(sync_client=True)
    except RuntimeError as error:
        raise UserError(f"Prefect's server does not start: {error}") from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if problem := client.api_healthcheck():
        server = environment.without_password(str(client.api_url))
        raise UserError(f"no Prefect server at {server}: {problem}")
    state = mnist_release(targets, force, set_params, return_state=True)
    if not state.is_completed():
        message = (state.message or "").rpartition("UserError: ")[2]  # raised before any stage
        raise (RefusedError if state.name == REFUSED else UserError)(message)


@task(cache_policy=NO_CACHE)
def repro(stage: dag.Stage, *, force: bool, lock: int) -> State[Any]:
    """Have DVC run a stage, or find it up to date; what is said goes to the log line by line."""
    logger = get_run_logger()
    variables = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "PYTHONUNBUFFERED": "1",
        environment.FLOW_RUN_ID: str(flow_run.id),
        environment.FLOW_RUN_URL: address(flow_run.id),
    }
    said: list[str] = []

    def on_line(line: str) -> None:
        said.append(line)
        serious = re.match("(error|warning):", line, re.IGNORECASE)
        level = logging.getLevelNamesMapping()[serious[1].upper()] if serious else logging.INFO
        logger.log(level, line)

    command = dag.repro_command(stage.name, force=force)
    status = supervisor.run(command, variables, holding=lock, on_line=on_line)
    show_results(stage, complete=status == 0, images=not dag.unchanged(stage.name, said))
    if status != 0:
        errors = [line.removeprefix("error: ") for line in said if line.startswith("error: ")]
        refused = errors and dag.exit_status(said) == RefusedError.status
        message = errors[-1] if errors else said[-1] if said else f"exit status {status}"
        return Failed(name=REFUSED if refused else "Failed", message=message)
    if not dag.ran(stage.name, said):
        return Completed(name=CACHED, message="DVC has its outputs already")
    return Completed()


def show_results(stage: dag.Stage, *, complete: bool, images: bool) -> None:
    """Make artifacts of what a stage has written for people: texts, and if `complete` the rest."""
    for path in filter(Path.exists, stage.texts):
        artifacts.create_markdown_artifact(path.read_text(encoding="utf-8"), _key(path), str(path))
    for path in stage.metrics if complete else ():
        if isinstance(content := read_json(path), dict):
            rows = [{"metric": name, "value": value} for name, value in content.items()]
            artifacts.create_table_artifact(rows, _key(path), str(path))
    for path in stage.images if complete and images else ():
        inline = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
        artifacts.create_image_artifact(inline, _key(path), str(path))


def conclude(states: Mapping[str, State[Any]]) -> State[Any]:
    """How the flow run ends: released, refused, failed, or completed without a release."""
    failed = {stage: state for stage, state in states.items() if state.is_failed()}
    if failed:
        why = "; ".join(f"{stage}: {state.message}" for stage, state in failed.items())
        left = [stage for stage, state in states.items() if not state.is_final()]
        refused = any(state.name == REFUSED for state in failed.values())
        message = f"{why}; not run: {', '.join(left) or 'none'}"
        return Failed(name=REFUSED if refused else "Failed", message=message)
    run = [stage for stage, state in states.items() if state.name != CACHED]
    if RELEASE in run:
        accuracy = read_json(METRICS)["accuracy"]
        return Completed(name=RELEASED, message=f"a model with test accuracy {accuracy:.2%}")
    return Completed(message=f"run: {', '.join(run) or 'none'}; the others are up to date")


def address(run_id: object) -> str:
    """Where people see a flow run."""
    server = environment.without_password(PREFECT_UI_URL.value() or UI)
    return f"{server}/runs/flow-run/{run_id}"


def _key(path: Path) -> str:
    name = str(path.with_suffix("")).removeprefix("reports/")
    return re.sub("[^a-z0-9]+", "-", name.lower())
