"""The locked environment: complete, told to DVC, and what dvc.lock in git was made with."""

import os
import re
import subprocess
import sys
import sysconfig
from importlib.metadata import files
from pathlib import Path

import pytest

from tests.workspace import PROJECT, python

DRIVER = {"libcuda.so.1"}  # comes with NVIDIA's driver, of no package
TENSORRT = "libonnxruntime_providers_tensorrt.so"  # of a product that nothing here uses


def libraries(package: str) -> list[Path]:
    """The shared libraries of an installed package."""
    found = (Path(file.locate()) for file in files(package) or ())
    return [path for path in found if re.search(r"\.so(\.|$)", path.name)]


linux = pytest.mark.skipif(sys.platform != "linux", reason="CUDA is for Linux alone")


@linux
@pytest.mark.parametrize("package", ["onnxruntime-gpu", "torch"])
def test_a_machine_needs_nothing_but_nvidias_driver_to_compute_on_a_gpu(package: str) -> None:
    folders = Path(sysconfig.get_path("purelib")).glob("nvidia/*/lib")
    environment = os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))}
    needing = [path for path in libraries(package) if path.name != TENSORRT]
    shown = subprocess.run(["ldd", *needing], env=environment, capture_output=True, text=True)
    assert shown.stdout.count("libc.so.6 =>") >= 4, shown.stderr
    assert set(re.findall(r"(\S+) => not found", shown.stdout)) <= DRIVER


@linux
def test_onnx_runtime_finds_all_that_it_loads_for_cuda() -> None:
    loaded = python(PROJECT, "-c", "import onnxruntime; onnxruntime.preload_dlls()")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout == ""  # where it tells what it could not load
