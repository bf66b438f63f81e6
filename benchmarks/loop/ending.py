"""How the story ended, and whether that is how it should end."""

from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.journal.folder import SUFFIX
from pipeline.journal.reading import entries, votes
from pipeline.monitoring.monitor import FOLDER
from pipeline.monitoring.state import DRIFT, State, state_file
from pipeline.registry.folder import verify_checksums
from pipeline.registry.ledger import Act, Ledger
from pipeline.registry.releases import Releases


class Ending(NamedTuple):
    """What there is in the end."""

    drifts: int  # events of monitoring
    reviews: int  # lines of the ledger
    retrainings: int
    releases: int
    champion: int
    entries: int  # in the journal, of which every one can be read
    labels: int


NEW_RELEASE = {"retrainings": 1, "releases": 2, "champion": 2}
ONLY_A_REVIEW = {"drifts": 1, "reviews": 1, "retrainings": 0, "releases": 1, "champion": 1}
EXPECTED = {"hand": NEW_RELEASE, "letters": ONLY_A_REVIEW, "noise": ONLY_A_REVIEW}


def look(workspace: Workspace, journal: Path) -> Ending:
    """Read all that the story has left. UserError if a file is torn."""
    lines, releases = Ledger(workspace.ledger).read(), Releases.of(workspace)
    acts = [line.act for line in lines]
    champion = releases.champion()
    assert champion is not None
    verify_checksums(champion.folder)
    state = State.read(state_file(workspace.root / FOLDER))
    for path in journal.rglob(f"[!.]*{SUFFIX}"):  # a name with a dot: it was never finished
        try:
            pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise UserError(f"{path} is torn: {error}") from error
    return Ending(
        drifts=sum(event.kind == DRIFT for event in state.events),
        reviews=acts.count(Act.REVIEW),
        retrainings=acts.count(Act.RETRAIN),
        releases=acts.count(Act.REGISTER),
        champion=champion.number,
        entries=sum(map(len, entries(journal))),
        labels=len(votes(journal)),
    )


def check(ending: Ending, shift: str) -> None:
    """UserError unless the story ended as it should."""
    found, expected = ending._asdict(), EXPECTED[shift]
    if wrong := [name for name, value in expected.items() if found[name] != value]:
        said = ", ".join(f"{name} {found[name]} instead of {expected[name]}" for name in wrong)
        raise UserError(f"the loop ended with {said}")
