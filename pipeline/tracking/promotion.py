"""Which model a release replaced: MLflow's alias moves from that one to the new one, or not at all.

A release notes it in artifacts/ before it changes models/. Whoever publishes next from here moves
the alias accordingly and removes the note, so a server that was away gets the alias later.
"""

from pathlib import Path

from pipeline.core import paths
from pipeline.core.errors import UserError
from pipeline.core.files import read_json, sha256, write_json

NOTE = paths.TRACKED.with_name("promotion.json")


def note(new: Path) -> None:
    """Remember that the file `new` is about to replace the released model, if there is one.

    If that one is not published yet, the alias may still be where its own release found it.
    """
    promotions, model = _noted(), sha256(new)
    replaced = set(promotions.get(model, []))
    if paths.RELEASED_MODEL.exists():
        old = sha256(paths.RELEASED_MODEL)
        replaced |= {old, *promotions.get(old, [])}
    write_json(NOTE, promotions | {model: sorted(replaced)})


def replaced_by(model: str) -> frozenset[str] | None:
    """The digests from which the alias may move to `model`; None if no release of it is noted."""
    promotions = _noted()
    return frozenset(promotions[model]) if model in promotions else None


def forget(model: str) -> None:
    """Remove the note of this release, and of those before it: the alias is where it belongs."""
    promotions = _noted()
    if model in promotions:
        past = {model, *promotions[model]}
        write_json(NOTE, {new: old for new, old in promotions.items() if new not in past})


def _noted() -> dict[str, list[str]]:
    """The replaced models by each model whose release is not published yet."""
    try:
        return {new: [str(digest) for digest in old] for new, old in read_json(NOTE).items()}
    except (UserError, AttributeError, TypeError):  # missing or broken: the alias stays
        return {}
