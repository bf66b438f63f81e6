"""Set before torch is imported: tests run beside each other, so each gets one thread."""

import os

os.environ["OMP_NUM_THREADS"] = "1"
