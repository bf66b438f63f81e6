"""What is done with an exported model: ONNX Runtime, no torch."""

import os

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # ONNX Runtime reads it when it is imported
