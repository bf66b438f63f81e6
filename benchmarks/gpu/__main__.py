"""python -m benchmarks.gpu: `python -m benchmarks gpu`, as a GPU machine is told to run it."""

import sys

from benchmarks.__main__ import run

if __name__ == "__main__":
    run("gpu", sys.argv[1:])
