"""The locked packages contain every shared library that torch and ONNX Runtime load."""

import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.checkout import MODEL, needs_model

pytestmark = pytest.mark.skipif(shutil.which("ldd") is None, reason="ldd is not installed")
COMPILER = shutil.which("cc")
PACKAGES = ["torch", "onnxruntime", "onnxruntime_ep_openvino"]
DRIVER = "libcuda.so.1"  # comes with NVIDIA's driver
ELSEWHERE = {  # by library: what else it needs from outside the lock
    # TensorRT is not in the lock: no execution provider of the pipeline uses it
    "libonnxruntime_providers_tensorrt.so": {"libnvinfer.so.10", "libnvonnxparser.so.10"},
    "libopenvino_intel_gpu_plugin.so": {"libOpenCL.so.1"},  # comes with Intel's GPU driver
}
# the one function of the driver that the provider binds when it is loaded; 100: no device
FUNCTIONS = "int cuTensorMapEncodeTiled(void) { return 100; }"
SESSION = """
import sys
import onnxruntime
onnxruntime.preload_dlls()
providers = ["CUDAExecutionProvider"]
onnxruntime.InferenceSession(sys.argv[1], providers=providers, enable_fallback=0)
"""


def folder_of(package: str) -> Path:
    """The folder of an installed package, which is not imported."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(f"{package} is not installed")
    return Path(spec.submodule_search_locations[0])


def missing_libraries(library: Path, folders: list[Path]) -> set[str]:
    """The libraries that this one needs, directly or not, and that the linker does not find."""
    listed = subprocess.run(
        ["ldd", library],
        env=os.environ | {"LD_LIBRARY_PATH": os.pathsep.join(map(str, folders))},
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert listed, library
    return {line.split()[0] for line in listed if line.endswith("not found")}


@pytest.mark.parametrize("package", PACKAGES)
def test_every_library_finds_those_that_it_needs(package: str) -> None:
    libraries = sorted(folder_of(package).rglob("*.so*"))
    nvidia = sorted(folder_of("nvidia").glob("*/lib"))
    assert libraries
    missing = {library.name: missing_libraries(library, nvidia) for library in libraries}
    allowed = {name: {DRIVER} | ELSEWHERE.get(name, set()) for name in missing}
    assert {name: found for name, found in missing.items() if not found <= allowed[name]} == {}


@needs_model
@pytest.mark.skipif(COMPILER is None, reason="a C compiler is not installed")
def test_the_cuda_provider_lacks_only_a_device(tmp_path: Path) -> None:
    """With a driver that knows no device, CUDA itself reports what is wrong."""
    assert COMPILER is not None
    source, driver = tmp_path / "driver.c", tmp_path / DRIVER
    source.write_text(FUNCTIONS)
    command = [
        COMPILER,
        "-shared",
        "-fPIC",
        f"-Wl,-soname,{DRIVER}",
        "-o",
        str(driver),
        str(source),
    ]
    subprocess.run(command, check=True)
    result = subprocess.run(
        [sys.executable, "-c", SESSION, MODEL],
        cwd=tmp_path,
        env=os.environ | {"LD_LIBRARY_PATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode != 0
    assert "CUDA failure" in result.stderr, result.stderr
    assert "cannot open shared object file" not in result.stderr
