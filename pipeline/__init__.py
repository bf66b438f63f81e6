"""The pipeline from MNIST to a gated ONNX release; `python -m pipeline --help`."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it when it is imported

DISTRIBUTION = "gated-mnist"  # its name on the Python package index
__version__ = "0.1.0"
