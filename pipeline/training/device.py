"""Where training computes and how: the device, the dtype, and the same bits on every run."""

import ctypes
import subprocess

import torch

from pipeline.core import variables


def choose_device(name: str) -> torch.device:
    """The device called `name`; `auto` is the first GPU, else the CPU. ValueError if not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device {name!r} cannot be used here: {str(error).splitlines()[0]}"
        ) from error
    return device


def choose_precision(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the matrix work; `auto` is bfloat16 where the hardware multiplies it itself."""
    if name != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
    fast = False
    if device.type == "cuda":
        fast = torch.cuda.is_bf16_supported(including_emulation=False)
    elif device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        fast = any(capabilities.get(name) for name in ("avx512_bf16", "amx_bf16", "bf16"))
    return torch.bfloat16 if fast else torch.float32


def be_deterministic(device: torch.device) -> None:
    """Have torch compute the same bits on every run, in this process.

    On CUDA an operator that cannot raises RuntimeError, elsewhere it warns.
    """
    torch.use_deterministic_algorithms(True, warn_only=device.type != "cuda")
    # cuBLAS reads it at its first product; torch raises there for a value that will not do
    variables.CUBLAS_WORKSPACE_CONFIG.set_default()
    forbid_tf32()
    # else it fills each new tensor with NaN first, for code that reads what was never written
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def forbid_tf32() -> None:
    """Have a GPU multiply float32 as float32, not with the 10-bit mantissa of TF32."""
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def tf32_is_allowed() -> bool:
    """Whether a GPU may multiply float32 as TF32 now."""
    return torch.backends.cuda.matmul.allow_tf32 or torch.backends.cudnn.allow_tf32


def reuse_memory() -> None:
    """Have the C library keep freed memory for the next step, where it is glibc.

    By default it gives every large tensor back and fetches it again, page by page, which takes a
    quarter of a step.
    """
    trim_threshold, mmap_max = -1, -4  # M_TRIM_THRESHOLD and M_MMAP_MAX in malloc.h
    c_library = ctypes.CDLL(None)
    if hasattr(c_library, "mallopt"):
        c_library.mallopt(trim_threshold, -1)  # never
        c_library.mallopt(mmap_max, 0)


def describe_gpu(device: torch.device) -> dict[str, str | bool]:
    """What the bits of a training on this GPU depend on: its model, driver, CUDA and cuDNN."""
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
        shown = subprocess.run(command, check=True, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return shown.stdout.partition("\n")[0].strip() or "unknown"
