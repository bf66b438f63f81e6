"""The device and dtype of training, and deterministic computation."""

import ctypes
import subprocess

import torch

from pipeline.core import variables


def choose_device(name: str) -> torch.device:
    """Return the device `name`; `auto` is the first GPU, or the CPU if there is no GPU.

    Raises ValueError if the device is not available.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} is not available: {str(error).splitlines()[0]}"
        ) from error
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """Return the dtype of matrix products; `auto` is bfloat16 if the hardware supports it."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    fast = False
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if fast else torch.float32


def make_deterministic(device: torch.device) -> None:
    """Make torch deterministic in this process.

    An operator without a deterministic implementation raises RuntimeError on CUDA and warns on
    other devices.
    """
    # does the same as torch.use_deterministic_algorithms without importing torch's compiler, which
    # takes as long as the import of torch itself
    torch.set_deterministic_debug_mode("error" if device.type == "cuda" else "warn")
    # cuBLAS reads this variable at the first matrix product; torch raises if its value is invalid
    variables.CUBLAS_WORKSPACE_CONFIG.set_default()
    disable_tf32()
    # the default fills every new tensor with NaN to expose reads of uninitialised memory
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def disable_tf32() -> None:
    """Make GPUs multiply float32 in full precision, not in TF32 with its 10-bit mantissa."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def tf32_is_allowed() -> bool:
    """Return whether GPUs may multiply float32 in TF32."""
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32


def reuse_memory() -> None:
    """Make glibc keep freed memory for the next step; does nothing with other C libraries.

    By default, glibc returns the memory of every large tensor to the system and faults it in
    again page by page, which takes a quarter of a step.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX in malloc.h
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt"):
        c_library.mallopt(trim_threshold, -1)  # never
        c_library.mallopt(mmap_max, 0)


def describe_gpu(device: torch.device) -> dict[str, str | bool]:
    """Return what determines the weights on this GPU: its model, driver, CUDA, cuDNN and TF32."""
    major, minor = torch.cuda.get_device_capability(device)
    return {
        "name": torch.cuda.get_device_name(device),
        "compute_capability": f"{major}.{minor}",
        "driver": _driver_version(),
        "cuda": str(torch.version.cuda),
        "cudnn": str(torch.backends.cudnn.version()),
        "tf32": tf32_is_allowed(),
    }


def _driver_version() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        result = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return result.stdout.partition("\n")[0].strip() or "unknown"
