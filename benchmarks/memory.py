"""Run time and peak memory of a command."""

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import NamedTuple

from pipeline.core.errors import UserError

# a child's peak is at least its parent's, so this small process starts the command
STARTER = """
import json, os, sys, time

begin = time.perf_counter()
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(process, 0)
unit = 1 if sys.platform == "darwin" else 1024
cost = {"seconds": time.perf_counter() - begin, "peak_bytes": usage.ru_maxrss * unit}
print(json.dumps(cost), file=sys.stderr)
sys.exit(os.waitstatus_to_exitcode(status))
"""


class Cost(NamedTuple):
    """The cost of a process from start to exit."""

    seconds: float
    peak_bytes: int  # resident, including imports and mapped files
    output: str


def measure(command: Sequence[str]) -> Cost:
    """Run a command that begins with the path of a program. UserError if it fails."""
    starter = [sys.executable, "-S", "-c", STARTER]
    result = subprocess.run([*starter, *command], capture_output=True, text=True)
    if result.returncode != 0:
        raise UserError(f"`{' '.join(command)}` failed:\n{result.stderr}")
    cost = json.loads(result.stderr.splitlines()[-1])
    return Cost(cost["seconds"], cost["peak_bytes"], result.stdout)
