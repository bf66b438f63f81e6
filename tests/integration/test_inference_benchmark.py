"""The inference benchmark: every engine agrees with the network."""

import json
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from benchmarks.inference import comparison, engines, sampling
from benchmarks.inference.report import INT8, INT8_OPENVINO, OPENVINO, OURS_OPENVINO, WHOLE
from pipeline.core.errors import UserError
from pipeline.core.workspace import Workspace
from pipeline.mnist import TASK
from pipeline.training.detector import build_detector
from pipeline.training.network import build_network
from tests.checkout import needs_openvino
from tests.training_sets import TEST, small_workspace

ROUNDING = (INT8, INT8_OPENVINO, OURS_OPENVINO, OPENVINO)  # in int8 or bfloat16


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with small sets and an untrained network."""
    workspace = small_workspace(tmp_path)
    workspace.weights.parent.mkdir()
    torch.manual_seed(1)
    save_file(build_network(TASK).state_dict(), workspace.weights)
    save_file(build_detector(TASK).state_dict(), workspace.detector)
    return workspace


def small_run(workspace: Workspace) -> None:
    """Run the benchmark with few short samples. This patches its modules."""
    engines.compiled = engines.eager  # compiling is slow
    comparison.BATCHES = [1, 7]  # the last batch is not full
    comparison.THREADS = [1]
    sampling.SLICE, sampling.PAUSE, sampling.CALLS = 0.001, 0.0, 3
    comparison.main(workspace, rounds=2)


@needs_openvino
def test_a_small_run_reports_that_all_engines_agree(workspace: Workspace) -> None:
    # training in a process where OpenVINO has run can end in a segmentation fault
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as process:
        process.submit(small_run, workspace).result()
    reports = workspace.root / "reports/benchmarks"
    result = json.loads((reports / "inference.json").read_text())
    for row in result["agreement"]:
        rounding = row["engine"] in ROUNDING
        assert row["max_logit_difference"] < (0.2 if rounding else 1e-4), row
        assert rounding or row["other_predictions"] == 0, row
    rates = {
        (r["engine"], r["threads"], r["batch_size"]): r for r in result["idle"]["images_per_second"]
    }
    assert len(rates) == 9 * 2 + 5
    assert rates[WHOLE, 0, TEST]["median"] > 0
    assert all(len(row["samples"]) == 2 for row in rates.values())
    assert [row["calls"] for row in result["idle"]["latency_us"]] == [6] * 9
    assert 0 <= result["disturbed"] <= 1
    text = (reports / "inference.md").read_text()
    assert f"{result['headline']['images_per_second']:,} images/s" in text
    assert (reports / "inference.png").exists()


def test_missing_weights_are_an_error(workspace: Workspace) -> None:
    workspace.weights.unlink()
    with pytest.raises(UserError, match=r"weights.safetensors is missing"):
        comparison.main(workspace, rounds=1)
