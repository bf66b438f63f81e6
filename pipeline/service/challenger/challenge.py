"""Which model to compare with the champion, and how."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.service.challenger.awaiting import TRIAL, await_trial
from pipeline.service.challenger.process import Model
from pipeline.service.challenger.trial import Rules
from pipeline.service.pool import ServedModel
from pipeline.service.processes import share, take
from pipeline.service.sources import open_challenger


@dataclass(frozen=True)
class Challenge:
    """A challenger, and the rules of its trial."""

    name: str  # as `sources.open_challenger` takes it, or TRIAL
    rules: Rules
    load: Callable[[], Model] | None = None  # in its process, instead of that model: for tests

    def open(
        self, workspace: Workspace | None, trust: tuple[Path, ...], champion: ServedModel
    ) -> ServedModel | None:
        """The challenger; None if a retraining names it later. UserError if it cannot be served."""
        if self.name != TRIAL:
            return open_challenger(self.name, workspace, trust, champion)
        if workspace is None:
            raise UserError(f"--challenger {TRIAL} requires a workspace, whose ledger names it")
        if self.rules.is_canary:
            raise UserError(f"--canary requires a model that is known: {TRIAL} is named later")
        return None

    def loader(
        self, challenger: ServedModel | None, workspace: Workspace | None, trust: tuple[Path, ...]
    ) -> Callable[[], Model]:
        """What loads the challenger, in its process; it may wait until there is one."""
        if self.load is not None:
            return self.load
        if challenger is not None:
            return partial(take, share(challenger.classifier))
        assert workspace is not None
        return partial(await_trial, Workspace(workspace.root.resolve()), trust)
