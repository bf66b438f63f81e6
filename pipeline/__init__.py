"""A pipeline from MNIST to a gated ONNX release: see `python -m pipeline --help`."""

from pipeline.core import variables

# before the libraries that read them are loaded: ONNX Runtime and, with torch, OpenMP
variables.ORT_DISABLE_TELEMETRY.set_default()
if variables.OMP_WAIT_POLICY.get() is None:  # which implies how long threads spin
    variables.GOMP_SPINCOUNT.set_default()

DISTRIBUTION = "gated-mnist"  # name on the Python package index
__version__ = "0.1.0"
