"""make smoke: the whole DAG on a small set of printed digits, in a temporary folder, offline."""

import sys
import tempfile
from pathlib import Path

from tests.checkout import Checkout


def main() -> int:
    """Run the DAG with DVC's output; returns DVC's exit status."""
    with tempfile.TemporaryDirectory(prefix="smoke-") as scratch:
        workspace = Checkout(Path(scratch) / "project")
        status = workspace.run("dvc", "repro", capture_output=False).returncode
        if status == 0:
            workspace.run("dvc", "metrics", "show", capture_output=False)
    print("smoke: passed" if status == 0 else "smoke: FAILED")
    return status


if __name__ == "__main__":
    sys.exit(main())
