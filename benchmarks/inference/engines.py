"""The engines that run an exported network, each in its fastest configuration.

An engine maps images, uint8 [N, H, W], and a batch size to logits, float32 [N, classes].
"""

import logging
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from pipeline.inference.session import OnnxModel

Images = NDArray[np.uint8]
Logits = NDArray[np.float32]
Engine = Callable[[Images, int], Logits]
Classifier = Callable[[torch.Tensor], tuple[torch.Tensor, ...]]


def ours(path: Path, threads: int, provider: str) -> Engine:
    """The exported file as the pipeline runs it, with an execution provider of ONNX Runtime."""
    model = OnnxModel(path, provider, threads)
    return lambda images, batch_size: model.run(images, batch_size)[0]


def onnx_runtime(path: Path, threads: int) -> Engine:
    """`session.run`, batch by batch; 0 threads: ONNX Runtime's default."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
    return _in_batches(lambda images: session.run(["logits"], {"images": images})[0])


def eager(classifier: Classifier, threads: int) -> Engine:
    """The PyTorch module, called directly."""

    def classify(images: Images) -> Logits:
        with torch.inference_mode():
            logits: Logits = classifier(torch.from_numpy(images))[0].numpy()
            return logits

    run = _in_batches(classify)

    def with_threads(images: Images, batch_size: int) -> Logits:
        torch.set_num_threads(threads)
        return run(images, batch_size)

    return with_threads


def compiled(classifier: Classifier, threads: int) -> Engine:
    """`torch.compile`: once for single images, once for batches of any size."""
    return eager(torch.compile(classifier), threads)


def openvino_latency(path: Path, threads: int, precision: str | None) -> Engine:
    """One request at a time on all threads; compiled for each batch size."""
    compile_for = _openvino(path, threads, precision, "LATENCY")

    @cache
    def request(batch_size: int) -> Any:
        return compile_for(batch_size).create_infer_request()

    def classify(images: Images) -> Logits:
        # passing a list, or reading the output by name, would cost 40 µs
        results = request(len(images)).infer(images, share_inputs=True, share_outputs=True)
        logits: Logits = results[0].copy()
        return logits

    return _in_batches(classify)


def openvino_throughput(path: Path, threads: int, precision: str | None) -> Engine:
    """As many parallel requests as OpenVINO chooses; compiled for each batch size."""
    compile_for = _openvino(path, threads, precision, "THROUGHPUT")
    classes = openvino.Core().read_model(path).output(0).get_partial_shape()[1].get_length()

    def keep(request: Any, place: tuple[Logits, int]) -> None:
        logits, start = place
        batch = request.get_output_tensor(0).data
        logits[start : start + len(batch)] = batch

    @cache
    def queue(batch_size: int) -> Any:
        requests = openvino.AsyncInferQueue(compile_for(batch_size))
        requests.set_callback(keep)
        return requests

    def run(images: Images, batch_size: int) -> Logits:
        logits = np.empty((len(images), classes), np.float32)
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size]
            queue(len(batch)).start_async(batch, (logits, start), share_inputs=True)
        for size in {min(batch_size, len(images)), len(images) % batch_size or batch_size}:
            queue(size).wait_all()
        return logits

    return run


def quantise(path: Path, target: Path, images: Images) -> None:
    """Write the model with its inner convolutions in 8-bit integers (static, QDQ).

    Activation ranges are the extremes over `images`; weights have one scale per output channel. The
    first convolution (one input channel) and the last layer (to the logits) gain nothing and stay
    float.
    """

    class Calibration(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            parts = np.array_split(images, -(-len(images) // 100))
            self.batches: Iterator[dict[str, Images]] = iter([{"images": part} for part in parts])

        def get_next(self) -> dict[str, Images] | None:
            return next(self.batches, None)

    convolutions = [node for node in onnx.load(path).graph.node if node.op_type == "Conv"]
    logging.disable(logging.WARNING)
    quantize_static(
        path,
        target,
        Calibration(),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Relu", "MaxPool"],
        nodes_to_exclude=[convolutions[0].name],
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
    logging.disable(logging.NOTSET)


def _in_batches(classify: Callable[[Images], Logits]) -> Engine:
    """An engine that calls `classify` batch by batch."""

    def run(images: Images, batch_size: int) -> Logits:
        starts = range(0, len(images), batch_size)
        return np.concatenate([classify(images[start : start + batch_size]) for start in starts])

    return run


def _openvino(path: Path, threads: int, precision: str | None, hint: str) -> Callable[[int], Any]:
    """A function that compiles the file for a batch size; None: OpenVINO's precision."""
    core = openvino.Core()

    def compile_for(batch_size: int) -> Any:
        model = core.read_model(path)
        _, height, width = model.input(0).get_partial_shape()
        model.reshape([batch_size, height.get_length(), width.get_length()])
        settings = {"PERFORMANCE_HINT": hint, "INFERENCE_NUM_THREADS": threads}
        if precision:
            settings["INFERENCE_PRECISION_HINT"] = precision
        return core.compile_model(model, "CPU", settings)

    return compile_for
