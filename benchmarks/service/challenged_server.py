"""Our service with a challenger: python -m benchmarks.service.challenged_server MODEL PORT KIND."""

import sys
from functools import partial
from pathlib import Path

from benchmarks.service.challengers import KINDS
from pipeline.service import server
from pipeline.service.challenger.challenge import Challenge
from pipeline.service.challenger.trial import Rules


def main(model: str, port: str, kind: str) -> None:
    """Serve the model, and compare it with a challenger of this kind."""
    load = partial(KINDS[kind], Path(model))
    challenge = Challenge(model, Rules(), load)
    server.run(model, "127.0.0.1", int(port), json_log=False, workspace=None, challenge=challenge)


if __name__ == "__main__":
    main(*sys.argv[1:])
