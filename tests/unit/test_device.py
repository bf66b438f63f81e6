"""Devices: float32 without TF32, the same bits on every run, and what the bits depend on."""

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import torch

from pipeline.core.errors import UserError
from pipeline.core.task import LabelledImages
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.mnist.network import build_network
from pipeline.stages import train as stage
from pipeline.training import device
from pipeline.training.device import (
    choose_device,
    choose_precision,
    describe_gpu,
    make_deterministic,
    reuse_memory,
)
from pipeline.training.measuring import measure
from pipeline.training.trainer import Trainer
from tests.digits import make_digits
from tests.unit.test_recipe import RECIPE

CPU, GPU = torch.device("cpu"), torch.device("cuda:1")


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The settings of a fresh process; afterwards those of training on the CPU."""
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    yield
    make_deterministic(CPU)


def test_nondeterministic_operators_on_a_gpu_raise(settings: None) -> None:
    make_deterministic(GPU)
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.is_deterministic_algorithms_warn_only_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert not device.tf32_is_allowed()


def test_creating_a_trainer_enables_determinism(settings: None) -> None:
    """Benchmarks create trainers directly."""
    images, labels = map(torch.from_numpy, make_digits(16, seed=1))
    Trainer(TASK, images, labels, RECIPE)
    assert torch.are_deterministic_algorithms_enabled()
    assert not device.tf32_is_allowed()
    assert not torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]


def test_accuracy_is_measured_in_float32(settings: None) -> None:
    images, labels = map(torch.from_numpy, make_digits(10, seed=1))
    measure(TASK, build_network(), images, labels.long())
    assert not torch.backends.cuda.matmul.allow_tf32
    assert not torch.backends.cudnn.allow_tf32


def test_auto_chooses_the_first_gpu_if_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device("cpu") == CPU
    for available, kind in ((False, "cpu"), (True, "cuda")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda found=available: found)
        assert choose_device("auto").type == kind


def test_auto_chooses_bfloat16_only_with_native_support_on_the_gpu(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def emulated(including_emulation: bool = True) -> bool:
        return including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", emulated)
    assert choose_precision("auto", GPU) == torch.float32
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    assert choose_precision("auto", GPU) == torch.bfloat16
    assert choose_precision("float32", GPU) == torch.float32


def test_memory_is_reused_between_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise each step requests memory from the system, a quarter of its time."""
    asked = []
    library = SimpleNamespace(mallopt=lambda *arguments: asked.append(arguments))
    monkeypatch.setattr(ctypes, "CDLL", lambda name: library)
    reuse_memory()
    assert asked == [(-1, -1), (-4, 0)]  # malloc.h: never trim the heap, never mmap a block
    monkeypatch.setattr(ctypes, "CDLL", lambda name: SimpleNamespace())
    reuse_memory()  # does nothing without glibc


def test_bfloat16_support_of_the_cpu_does_not_affect_other_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    assert choose_precision("auto", CPU) == torch.bfloat16
    assert choose_precision("auto", torch.device("mps")) == torch.float32
    assert choose_precision("bfloat16", torch.device("mps")) == torch.bfloat16


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Simulate a GPU and nvidia-smi."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (9, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100")
    monkeypatch.setattr(torch.backends.cudnn, "version", lambda: 91900)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 580.95.05\necho 580.95.05\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)


def test_a_gpus_description_contains_everything_that_affects_bits(
    gpu: None, settings: None
) -> None:
    make_deterministic(GPU)
    assert describe_gpu(GPU) == {
        "name": "NVIDIA H100",
        "compute_capability": "9.0",
        "driver": "580.95.05",
        "cuda": "13.0",
        "cudnn": "91900",
        "tf32": False,
    }


@pytest.mark.parametrize("tool", ["exit 9", None])
def test_without_nvidia_smi_the_driver_is_unknown(
    gpu: None, tool: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if tool:
        (tmp_path / "nvidia-smi").write_text(f"#!/bin/sh\n{tool}\n")
    else:
        monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert describe_gpu(GPU)["driver"] == "unknown"


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(stage, "sha256", lambda path: "")
    return lambda where: stage.identify(Workspace(Path()), RECIPE, TASK, where)


def test_training_on_a_gpu_resumes_on_another_cpu(
    gpu: None, identity: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_gpu, on_cpu = identity(GPU), identity(CPU)
    assert on_gpu["device"] == "NVIDIA H100"
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(psutil, "cpu_count", lambda: 64)
    assert identity(GPU) == on_gpu
    assert identity(CPU) != on_cpu
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho 590.1\n")
    assert identity(GPU) != on_gpu


def test_the_identity_records_the_settings_during_training(
    gpu: None, settings: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Otherwise the first training of a process could not resume one that was the second."""
    found = []

    def resume_or_start(workspace: Workspace, identity: dict[str, Any]) -> None:
        found.append(identity["gpu"]["tf32"])
        raise ValueError("enough")

    def trainer(*args: Any) -> SimpleNamespace:
        Trainer(*args)  # on the CPU
        return SimpleNamespace(device=GPU)

    data = LabelledImages(*make_digits(16, seed=1))
    monkeypatch.setattr(stage, "training_images", lambda *paths: data)
    monkeypatch.setattr(stage, "sha256", lambda path: "")
    monkeypatch.setattr(stage, "Trainer", trainer)
    monkeypatch.setattr(stage, "resume_or_start", resume_or_start)
    with pytest.raises(UserError, match="enough"):
        stage.run(Workspace(tmp_path), RECIPE, TASK)
    assert found == [False]


def test_system_load_covers_only_the_device_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Querying an idle GPU allocates hundreds of MB on it."""
    asked = []

    def mem_get_info(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return 1_000_000_000, 3_000_000_000

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "mem_get_info", mem_get_info)
    assert not [name for name in stage.system_load(CPU) if "gpu" in name]
    assert asked == []
    assert stage.system_load(GPU)["system/gpu_1_memory_usage_megabytes"] == 2000
    assert asked == [GPU]


def test_an_unreadable_load_does_not_end_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(device: torch.device) -> tuple[int, int]:
        raise RuntimeError("CUDA-capable device(s) is/are busy or unavailable")

    monkeypatch.setattr(torch.cuda, "mem_get_info", busy)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 5e6)
    assert stage.system_load(GPU)["system/gpu_1_memory_usage_megabytes"] == 5
