"""Records which models a release replaced; MLflow's alias moves to the new model only from those.

A release writes the record to artifacts/ before it changes models/. The next publication from this
checkout moves the alias and clears the record, so an unreachable server catches up later.
"""

from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.files import read_json, sha256, write_json
from pipeline.core.workspace import Workspace


def record(workspace: Workspace, new: Path) -> None:
    """Record that the file `new` is about to replace the released model, if there is one.

    If the replaced model is not published yet, the alias may still name a model that it replaced.
    """
    pending, model = _pending(workspace), sha256(new)
    replaced = set(pending.get(model, []))
    if workspace.released_model.exists():
        old = sha256(workspace.released_model)
        replaced |= {old, *pending.get(old, [])}
    write_json(workspace.pending_promotions, pending | {model: sorted(replaced)})


def replaced_by(workspace: Workspace, model: str) -> frozenset[str] | None:
    """The digests from which the alias may move to `model`; None if no release of it is pending."""
    pending = _pending(workspace)
    return frozenset(pending[model]) if model in pending else None


def clear(workspace: Workspace, model: str) -> None:
    """Clear the record of this release and of the releases that it replaced."""
    pending = _pending(workspace)
    if model in pending:
        past = {model, *pending[model]}
        write_json(
            workspace.pending_promotions,
            {new: old for new, old in pending.items() if new not in past},
        )


def _pending(workspace: Workspace) -> dict[str, list[str]]:
    """For each model whose release is not published yet, the models that it replaced."""
    try:
        return {
            new: [str(digest) for digest in old]
            for new, old in read_json(workspace.pending_promotions).items()
        }
    except (UserError, AttributeError, TypeError):  # missing or broken: the alias does not move
        return {}
