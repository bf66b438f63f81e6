"""What follows from a judgement: the report, a refusal, a promotion or a decision for a person."""

from typing import Never

from pipeline.config import Params
from pipeline.core.errors import RefusedError
from pipeline.core.release_report import PROMOTED, ReleaseReport
from pipeline.core.workspace import Workspace
from pipeline.registry import acts
from pipeline.registry.ledger import Act, Ledger, Line
from pipeline.registry.releases import Releases
from pipeline.registry.rule import Judgement


def refuse(workspace: Workspace, params: Params, judgement: Judgement) -> Never:
    """Write the verdict to the report and the ledger, and raise RefusedError."""
    write_report(workspace, params, judgement)
    ledger = Ledger(workspace.ledger)
    refusals = [line for line in ledger.read() if line.act is Act.REFUSE]
    if not any(
        (line.sha256, line.comparisons) == (judgement.model_sha256, judgement.comparisons)
        for line in refusals
    ):
        ledger.append(Act.REFUSE, sha256=judgement.model_sha256, **judgement.facts)
    raise RefusedError(judgement.reason)


def write_report(
    workspace: Workspace, params: Params, judgement: Judgement, line: Line | None = None
) -> None:
    """Write reports/release.json, from the ledger's line of a registered model if there is one."""
    ReleaseReport(
        model_sha256=judgement.model_sha256,
        test_sha256=judgement.test_sha256,
        live_sha256=judgement.live_sha256,
        verdict=judgement.verdict,
        reason=judgement.reason,
        held=line is not None and line.held,
        release=line.release if line else None,
        look=judgement.look,
        looks=params.release.looks,
        comparisons=judgement.comparisons,
    ).write(workspace.release_report)


def promote_unless_held(workspace: Workspace, line: Line) -> None:
    """Promote the release that this line registered, unless a person must or did decide."""
    releases, number = Releases.of(workspace), line.release
    champion = releases.champion()
    assert number is not None
    if champion is not None and champion.number == number:
        print(f"release {number} is the champion already")
    elif line.verdict not in PROMOTED:
        print(f"release {number} is registered and not promoted: {line.reason}; {_by_hand(number)}")
    elif line.held:
        print(
            f"release {number} is registered and not promoted: the champion was chosen by a "
            f"rollback, or a trial decides; {_by_hand(number)}"
        )
    elif any(move.seq > line.seq for move in releases.moves):
        print(
            f"release {number} is registered and not promoted, because another champion was chosen "
            f"after it; {_by_hand(number)}"
        )
    else:
        acts.promote(workspace, number, f"{line.verdict}: {line.reason}")
        print(f"released {workspace.released_model} as release {number}, SHA-256 {line.sha256}")


def _by_hand(number: int) -> str:
    return f"to promote it: `python -m pipeline promote {number} --reason TEXT`"
