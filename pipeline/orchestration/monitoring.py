"""Watching the model in use as a Prefect flow, which sends an event when something changes.

The deployment `monitor` in prefect.yaml runs it on a schedule that somebody has to resume.
"""

import asyncio
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger
from prefect.client.schemas.objects import State
from prefect.events import Event, Resource
from prefect.events.clients import get_events_client
from prefect.states import Completed, Failed

from pipeline.core.errors import UserError
from pipeline.monitoring import monitor as watching
from pipeline.monitoring import state
from pipeline.monitoring.watch import ENOUGH_LABELS
from pipeline.orchestration.process import prepare
from pipeline.orchestration.settings import EVENTS, MONITOR

FOUND = "Found"  # final state of a run that finds drift or a fall of the accuracy


@flow(name=MONITOR)
def monitor(
    journal: str,
    window: int = watching.WINDOW,
    minutes: float | None = None,
    enough_labels: int = ENOUGH_LABELS,
    metrics_file: str | None = None,
    folder: str | None = None,
) -> State[Any]:
    """Judge the windows that have filled in a journal, and send events on what has changed.

    Args:
        journal: the folder of `serve --journal`, relative to the workspace
        window: images of a window
        minutes: after which a window of 50 images or more that has not filled is judged
        enough_labels: new labels that are enough for an event
        metrics_file: a file for Prometheus metrics
        folder: the workspace; by default the one that contains the current folder
    """
    try:
        workspace = prepare(folder)
        found = watching.monitor(
            workspace,
            workspace.root / journal,
            window=window,
            minutes=minutes,
            enough_labels=enough_labels,
            metrics_file=Path(metrics_file) if metrics_file else None,
        )
        if found.unsent:
            asyncio.run(send(found.model, found.unsent))
            watching.mark_sent(workspace.root / watching.FOLDER, found.unsent)
    except UserError as error:
        return Failed(message=str(error))
    logger = get_run_logger()
    for event in found.unsent:
        logger.warning("%s.%s: %s", EVENTS, event.kind, event.message)
    if found.drift or found.fell:
        what = [name for name, is_so in (("drift", found.drift), ("a fall", found.fell)) if is_so]
        return Completed(name=FOUND, message=f"window {found.judged}: {' and '.join(what)}")
    return Completed(message=f"{found.judged} windows so far, {found.waiting} images wait")


async def send(model: str, events: Sequence[state.Event]) -> None:
    """Send events to the Prefect server. One that is sent again has the same id."""
    async with get_events_client(checkpoint_every=1) as client:  # which confirms each event
        for event in events:
            await client.emit(
                Event(
                    event=f"{EVENTS}.{event.kind}",
                    resource=Resource({"prefect.resource.id": f"{EVENTS}.model.{model}"}),
                    payload={"message": event.message, "time": event.time},
                    id=uuid.UUID(event.id),
                )
            )
