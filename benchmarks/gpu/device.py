"""The device of `python -m benchmarks.gpu`: what it is, how exact and how fast it computes."""

import os
import platform
import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.core.task import Task
from pipeline.training.device import describe_gpu
from pipeline.training.network import Classifier, build_network

BATCH = 1000  # images per call of inference
WARM_UP, REPETITIONS = 3, 10  # of inference on all test images


def describe_machine(device: torch.device) -> dict[str, Any]:
    """The device and the versions that affect results and speed."""
    return {
        "device": device.type,
        "gpu": describe_gpu(device) if device.type == "cuda" else None,
        "gpu_bytes": (
            torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None
        ),
        "cores": os.cpu_count(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
    }


def float32_error(device: torch.device) -> float:
    """The largest error of float32 products and convolutions, relative to the largest value.

    It is near 1e-6 in float32 and near 1e-3 in TF32.
    """
    draws = torch.Generator().manual_seed(1)
    left, right = torch.randn(2, 256, 256, generator=draws)
    images = torch.randn(32, 16, 28, 28, generator=draws)
    kernels = torch.randn(16, 16, 3, 3, generator=draws)
    conv2d = torch.nn.functional.conv2d
    errors = []
    for operator, first, second in ((torch.matmul, left, right), (conv2d, images, kernels)):
        exact = operator(first.double(), second.double())
        found = operator(first.to(device), second.to(device)).cpu().double()
        errors.append(float((found - exact).abs().max() / exact.abs().max()))
    return max(errors)


def inference_rates(task: Task, weights: dict[str, Tensor], images: Tensor) -> dict[str, float]:
    """Images/s from pixels to probabilities by precision; `images`: uint8 [N, H, W] on the device.

    The best of REPETITIONS, after WARM_UP.
    """
    device = images.device
    network = build_network(task)
    network.load_state_dict(weights)
    network.to(device).to(memory_format=torch.channels_last)
    classifier = Classifier(network, task).eval()
    rates = {}
    for dtype in (torch.float32, torch.bfloat16):
        seconds = []
        for _ in range(WARM_UP + REPETITIONS):
            finish_work(device)
            started = time.perf_counter()
            with (
                torch.inference_mode(),
                torch.autocast(device.type, dtype, enabled=dtype != torch.float32),
            ):
                for batch in images.split(BATCH):
                    classifier(batch)
            finish_work(device)
            seconds.append(time.perf_counter() - started)
        rates[str(dtype).removeprefix("torch.")] = len(images) / min(seconds[WARM_UP:])
    return rates


def finish_work(device: torch.device) -> None:
    """Wait until a GPU has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
