"""The DAG in dvc.yaml as a Prefect flow: one task per stage, which DVC runs unless up to date.

The command `flow` runs it with its own Prefect server unless another is configured; the deployments
in prefect.yaml run it on a worker. Of this package, only `results`, `monitoring` and `loop` use
Prefect, too.
"""

import logging
import os
import re
import secrets
import signal
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State
from prefect.context import refresh_global_settings_context
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_API_AUTH_STRING
from prefect.states import Completed, Failed
from prefect.tasks import exponential_backoff

from pipeline.core import environment, supervisor, variables
from pipeline.core.errors import RefusedError, UserError
from pipeline.core.files import write_text
from pipeline.core.release_report import ReleaseReport
from pipeline.core.reports import Metrics
from pipeline.core.workspace import Workspace
from pipeline.orchestration import dag, results
from pipeline.orchestration.process import prepare
from pipeline.orchestration.settings import FLOW
from pipeline.orchestration.silence import signs_of_life
from pipeline.registry.releases import Releases

REFUSED, RELEASED = "Refused", "Released"  # final states of a flow run and of a task
CACHED = "Cached"  # final state of a task alone
RELEASE = "release"  # the stage that releases


@flow(name=FLOW)
def mnist_release(
    targets: list[str] | None = None,
    force: bool = False,
    set_params: list[str] | None = None,
    folder: str | None = None,
) -> State[Any]:
    """Bring stages up to date as `dvc repro` does, from the data to the gated release.

    Args:
        targets: stages to bring up to date, with their dependencies; by default all
        force: run the stages even if nothing has changed
        set_params: values to set permanently in params.yaml, such as train.epochs=2
        folder: the workspace; by default the one that contains the current folder
    """
    try:
        workspace = prepare(folder)
        return bring_up_to_date(workspace, targets or [], force=force, set_params=set_params or [])
    except UserError as error:
        return Failed(message=str(error))


def bring_up_to_date(
    workspace: Workspace,
    targets: list[str],
    *,
    force: bool,
    set_params: list[str],
    forced: Collection[str] = (),
    hold: bool = False,
) -> State[Any]:
    """Run the tasks of these stages and return the final state.

    Waits while another flow run or stage has locked the workspace. `forced`: stages that run even
    if nothing that DVC watches has changed. `hold`: register a new release, but do not promote it.
    """
    logger = get_run_logger()

    def report_wait(message: str) -> None:
        dag.read_plan(workspace, targets, set_params)  # an invalid name or value fails at once
        logger.warning(message)

    states: dict[str, State[Any]] = {}
    with workspace.lock(f"flow run {flow_run.name!r}", report_wait) as lock:
        stages, settings, content = dag.read_plan(workspace, targets, set_params)
        if set_params:
            write_text(workspace.params, content)
            logger.info("wrote to %s: %s", workspace.params, ", ".join(set_params))
        current = set() if force else dag.up_to_date(workspace.root)
        for stage in stages:
            needs = [states[name] for name in stage.needs if name in states]
            state = repro.with_options(
                name=stage.name,
                task_run_name=stage.name,
                retries=settings.retries.get(stage.name, 0),
                retry_delay_seconds=exponential_backoff(settings.retry_delay),
                timeout_seconds=settings.timeouts.get(stage.name, settings.timeout),
            )(
                workspace,
                stage,
                force=force or stage.name in forced,
                hold=hold,
                skip=stage.name in current - {*forced}
                and all(state.name == CACHED for state in needs),
                lock=lock,
                wait_for=needs,
                return_state=True,
            )
            states[stage.name] = state
            if state.name in (REFUSED, RELEASED):
                results.announce(state)
        results.show_links(workspace)
    return conclude(states)


def run(workspace: Workspace, targets: list[str], *, force: bool, set_params: list[str]) -> None:
    """Run the flow in this process. RefusedError or UserError if it does not complete."""
    if not (PREFECT_API_URL.value() or PREFECT_SERVER_API_AUTH_STRING.value()):
        # the flow's own server must not accept requests from other users or from web pages
        password = f"pipeline:{secrets.token_hex(24)}"
        os.environ |= dict.fromkeys(
            (
                variables.PREFECT_API_AUTH_STRING.name,
                variables.PREFECT_SERVER_API_AUTH_STRING.name,
            ),
            password,
        )
        refresh_global_settings_context()
    # Ctrl-C stops the flow run, but not its own server, which must record the final state
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        client = get_client(sync_client=True)
    except RuntimeError as error:
        raise UserError(f"the Prefect server does not start: {error}") from error
    except ImportError as error:  # the package for such a proxy is missing
        raise UserError("Prefect does not support a SOCKS proxy: unset ALL_PROXY") from error
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    server = environment.without_password(str(client.api_url))
    if failure := client.api_healthcheck():
        raise UserError(f"no Prefect server at {server}: {failure}")
    try:
        client.api_version()  # which requires the password, unlike the health check
    except PrefectHTTPStatusError as error:
        raise UserError(
            f"the Prefect server at {server} answers {error.response.status_code}: "
            "set PREFECT_API_AUTH_STRING to its password"
        ) from error
    state = mnist_release(targets, force, set_params, str(workspace.root), return_state=True)
    if not state.is_completed():
        raise (RefusedError if state.name == REFUSED else UserError)(state.message)


@task(cache_policy=NO_CACHE)
def repro(
    workspace: Workspace, stage: dag.Stage, *, force: bool, hold: bool, skip: bool, lock: int
) -> State[Any]:
    """Let DVC run a stage unless it is up to date; DVC's output goes to the log line by line.

    `skip`: the stage is known to be up to date, so DVC, which takes a second, does not start.
    """
    logger = get_run_logger()
    if skip:
        logger.info("%s is up to date", stage.name)
        results.show(workspace, stage, complete=True, images=False)
        return Completed(name=CACHED, message="up to date in DVC")
    programs = [str(Path(sys.executable).parent), variables.PATH.get() or os.defpath]
    child_environment = {
        **os.environ,
        variables.PATH.name: os.pathsep.join(programs),
        "PYTHONUNBUFFERED": "1",
        variables.FLOW_RUN_ID.name: str(flow_run.id),
        variables.FLOW_RUN_URL.name: results.address(flow_run.id),
        **({variables.HOLD.name: "1"} if hold else {}),
    }
    output: list[str] = []

    def on_line(line: str) -> None:
        if dag.advice(line):
            return
        output.append(line)
        serious = re.match("(error|warning):", line, re.IGNORECASE)
        level = logging.getLevelNamesMapping()[serious[1].upper()] if serious else logging.INFO
        logger.log(level, line)

    command = dag.repro_command(stage.name, force=force)
    with signs_of_life(stage.name, output, logger.info):
        status = supervisor.run(
            command, workspace.root, child_environment, holding=lock, on_line=on_line
        )
    results.show(
        workspace, stage, complete=status == 0, images=not dag.unchanged(stage.name, output)
    )
    if status != 0:
        errors = [line.removeprefix("error: ") for line in output if line.startswith("error: ")]
        refused = errors and dag.exit_status(output) == RefusedError.status
        message = errors[-1] if errors else output[-1] if output else f"exit status {status}"
        return Failed(name=REFUSED if refused else "Failed", message=message)
    if not dag.ran(stage.name, output):
        return Completed(name=CACHED, message="up to date in DVC")
    if stage.name == RELEASE:
        return of_release(workspace)
    return Completed()


def of_release(workspace: Workspace) -> State[Any]:
    """The final state of the stage `release`: released only if its model is the champion."""
    report, champion = (
        ReleaseReport.read(workspace.release_report),
        Releases.of(workspace).champion(),
    )
    if champion is None or champion.sha256 != report.model_sha256:
        return Completed(message=f"release {report.release} is not promoted: {report.reason}")
    accuracy = Metrics.read(workspace.metrics).accuracy
    return Completed(name=RELEASED, message=f"a model with test accuracy {accuracy:.2%}")


def conclude(states: Mapping[str, State[Any]]) -> State[Any]:
    """The final state of the flow run: released, refused, failed, or completed otherwise."""
    failed = {stage: state for stage, state in states.items() if state.is_failed()}
    released = [state.message for state in states.values() if state.name == RELEASED]
    if failed:
        why = "; ".join(f"{stage}: {state.message}" for stage, state in failed.items())
        left = [stage for stage, state in states.items() if not state.is_final()]
        refused = any(state.name == REFUSED for state in failed.values())
        message = "; ".join([why, *(f"released: {what}" for what in released)])
        message += f"; not run: {', '.join(left) or 'none'}"
        return Failed(name=REFUSED if refused else "Failed", message=message)
    if released:
        return Completed(name=RELEASED, message=released[0])
    run = [stage for stage, state in states.items() if state.name != CACHED]
    return Completed(message=f"run: {', '.join(run) or 'none'}; the others are up to date")
