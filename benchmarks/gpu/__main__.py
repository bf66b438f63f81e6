"""python -m benchmarks.gpu: the same as `python -m benchmarks gpu`."""

import sys

from benchmarks.__main__ import run

if __name__ == "__main__":
    run("gpu", sys.argv[1:])
