"""The retrainings in the ledger.

A retraining begins with a line `retrain` and ends with a line `end`. Between them, a line `trial`
names the release that it registered.
"""

from collections.abc import Sequence
from typing import NamedTuple

from pipeline.registry.ledger import Act, Line


class Retraining(NamedTuple):
    """A retraining that has not ended."""

    begin: Line
    trial: Line | None  # None until its release is registered

    def registration(self, lines: Sequence[Line]) -> Line | None:
        """The line that registered its release; None if there is none so far."""
        after = (line for line in lines if line.seq > self.begin.seq)
        return next((line for line in after if line.act is Act.REGISTER), None)


def unfinished(lines: Sequence[Line]) -> Retraining | None:
    """The retraining that has begun and not ended, if there is one."""
    begin = trial = None
    for line in lines:
        if line.act is Act.RETRAIN:
            begin, trial = line, None
        elif line.act is Act.TRIAL:
            trial = line
        elif line.act is Act.END:
            begin = trial = None
    return None if begin is None else Retraining(begin, trial)
