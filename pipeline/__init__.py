"""The pipeline from MNIST to a gated ONNX release; `python -m pipeline --help`."""

from pipeline.core import variables

variables.ORT_DISABLE_TELEMETRY.set_default()  # ONNX Runtime reads it when it is imported

DISTRIBUTION = "gated-mnist"  # its name on the Python package index
__version__ = "0.1.0"
