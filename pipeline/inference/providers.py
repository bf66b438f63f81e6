"""ONNX Runtime's execution providers that can compute a model: one function per provider.

CPU: float32, works everywhere. OpenVINO: bfloat16, for processors with instructions for it, where
it is several times as fast. CUDA: float32 on a GPU.
"""

import ctypes
import json
import os
import sys
from collections.abc import Callable
from contextlib import redirect_stdout
from threading import Lock
from typing import Any, TypeAlias

from pipeline import DISTRIBUTION
from pipeline.core.errors import first_line

try:
    import onnxruntime
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f"ONNX Runtime is missing: install {DISTRIBUTION}[cpu] or {DISTRIBUTION}[gpu]",
        name=error.name,
    ) from error

onnxruntime.set_default_logger_severity(3)  # errors only

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
OPENVINO = "OpenVINOExecutionProvider"
BATCH_SIZES = {CPU: 32, OPENVINO: 256, CUDA: 256}  # images per call
MANY = 8  # images; for fewer, no other provider is faster than the CPU provider
_REGISTERING = Lock()
Session: TypeAlias = onnxruntime.InferenceSession


class UnusableError(Exception):
    """Says why this machine cannot use a provider."""


def load(name: str, file: bytes, workers: int) -> Session:
    """A session of an ONNX file in which `workers` threads may run batches at the same time.

    UnusableError if the provider cannot be used here; errors of ONNX Runtime about the file.
    """
    if name not in LOADERS:
        raise UnusableError(f"the pipeline knows only {', '.join(LOADERS)}")
    return LOADERS[name](file, workers)


def _load_cpu(file: bytes, _: int) -> Session:
    return Session(file, _options(), [CPU])


def _load_cuda(file: bytes, _: int) -> Session:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError as error:
        raise UnusableError("there is no NVIDIA driver") from error
    if CUDA not in onnxruntime.get_available_providers():
        raise UnusableError(f"{DISTRIBUTION}[gpu] is not installed")
    with redirect_stdout(sys.stderr):
        onnxruntime.preload_dlls()  # from the nvidia-* packages, which torch has not loaded
    full_float32 = {"use_tf32": "0"}  # as on the CPU
    session = Session(file, _options(), [CUDA], [full_float32])
    if CUDA not in session.get_providers():
        raise UnusableError("ONNX Runtime cannot load its CUDA libraries")
    return session


def _load_openvino(file: bytes, workers: int) -> Session:
    device = _openvino_device()
    if "BF16" not in device.ep_metadata["OPTIMIZATION_CAPABILITIES"].split():
        raise UnusableError("the processor has no bfloat16")
    settings = {
        "INFERENCE_PRECISION_HINT": "bf16",
        "NUM_STREAMS": workers,  # of one thread each
        "INFERENCE_NUM_THREADS": workers,
        "ENABLE_CPU_PINNING": False,  # several processes would share one core
    }
    options = _options()
    options.add_provider_for_devices([device], {"load_config": json.dumps({"CPU": settings})})
    return Session(file, options)


def _openvino_device() -> Any:
    """OpenVINO's CPU device. Registers its plugin, once in a process."""
    try:
        import onnxruntime_ep_openvino as plugin
    except ModuleNotFoundError as error:
        raise UnusableError(f"{DISTRIBUTION}[openvino] is not installed") from error
    with _REGISTERING:
        if not (devices := _openvino_devices()):
            try:
                path = plugin.get_library_path()
                onnxruntime.register_execution_provider_library(OPENVINO, path)
            except Exception as error:  # ONNX Runtime's exceptions share no narrower base class
                raise UnusableError(f"its plugin cannot be loaded: {first_line(error)}") from error
            devices = _openvino_devices()
    if not devices:
        raise UnusableError("it does not support this processor")
    return devices[0]


def _openvino_devices() -> list[Any]:
    return [
        device
        for device in onnxruntime.get_ep_devices()
        if device.ep_name == OPENVINO and device.device.type.name == "CPU"
    ]


def _options() -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def available_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


LOADERS: dict[str, Callable[[bytes, int], Session]] = {
    CPU: _load_cpu,
    OPENVINO: _load_openvino,
    CUDA: _load_cuda,
}
