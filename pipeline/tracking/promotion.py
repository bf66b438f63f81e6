"""Which model a release replaced: MLflow's alias moves from that one to the new one, or not at all.

A release notes it in artifacts/ before it changes models/. Whoever publishes next from here moves
the alias accordingly and removes the note, so a server that was away gets the alias later.
"""

from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.files import read_json, sha256, write_json
from pipeline.core.workspace import Workspace


def note(workspace: Workspace, new: Path) -> None:
    """Remember that the file `new` is about to replace the released model, if there is one.

    If that one is not published yet, the alias may still be where its own release found it.
    """
    promotions, model = _noted(workspace), sha256(new)
    replaced = set(promotions.get(model, []))
    if workspace.released_model.exists():
        old = sha256(workspace.released_model)
        replaced |= {old, *promotions.get(old, [])}
    write_json(workspace.pending_promotions, promotions | {model: sorted(replaced)})


def replaced_by(workspace: Workspace, model: str) -> frozenset[str] | None:
    """The digests from which the alias may move to `model`; None if no release of it is noted."""
    promotions = _noted(workspace)
    return frozenset(promotions[model]) if model in promotions else None


def forget(workspace: Workspace, model: str) -> None:
    """Remove the note of this release, and of those before it: the alias is where it belongs."""
    promotions = _noted(workspace)
    if model in promotions:
        past = {model, *promotions[model]}
        write_json(
            workspace.pending_promotions,
            {new: old for new, old in promotions.items() if new not in past},
        )


def _noted(workspace: Workspace) -> dict[str, list[str]]:
    """The replaced models by each model whose release is not published yet."""
    try:
        return {
            new: [str(digest) for digest in old]
            for new, old in read_json(workspace.pending_promotions).items()
        }
    except (UserError, AttributeError, TypeError):  # missing or broken: the alias stays
        return {}
