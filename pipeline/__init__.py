"""A pipeline from MNIST to a gated ONNX release: see `python -m pipeline --help`."""

from pipeline.core import variables

variables.ORT_DISABLE_TELEMETRY.set_default()  # before ONNX Runtime is imported, which reads it

DISTRIBUTION = "gated-mnist"  # name on the Python package index
__version__ = "0.1.0"
