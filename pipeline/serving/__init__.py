"""What is done with an exported model: ONNX Runtime, no torch."""
