"""The benchmark of inference: every way gives the network's own answers, and a small run works."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_weights

from benchmarks import engines, inference
from benchmarks.inference_report import INT8, OPENVINO, WHOLE
from pipeline.core.errors import UserError
from pipeline.core.paths import TEST, TRAIN, WEIGHTS
from pipeline.mnist.network import build_network
from tests.digits import make_digits
from tests.workspace import PROJECT

IMAGES = 130  # the last batch of 8 is not full


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small sets and an untrained network, as the current one."""
    for path, count, seed in ((TRAIN, 100, 1), (TEST, IMAGES, 2)):
        images, labels = make_digits(count, seed)
        (tmp_path / path).parent.mkdir(exist_ok=True)
        save_file({"images": images, "labels": labels}, tmp_path / path)
    (tmp_path / WEIGHTS).parent.mkdir()
    torch.manual_seed(1)
    save_weights(build_network().state_dict(), tmp_path / WEIGHTS)
    (tmp_path / "params.yaml").write_text((PROJECT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_small_run_writes_a_report_in_which_all_agree(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "compiled", engines.eager)  # compiling takes long
    monkeypatch.setattr(inference, "BATCHES", [1, 8])
    monkeypatch.setattr(inference, "THREADS", [1])
    monkeypatch.setattr(inference, "SLICE", 0.001)
    monkeypatch.setattr(inference, "PAUSE", 0.0)
    monkeypatch.setattr(inference, "CALLS", 3)
    inference.main(rounds=2)
    reports = folder / "reports/benchmarks"
    result = json.loads((reports / "inference.json").read_text())
    for row in result["agreement"]:
        rounding = row["way"] in (INT8, OPENVINO)  # int8, perhaps bfloat16
        assert row["max_logit_difference"] < (0.2 if rounding else 1e-4), row
        assert rounding or row["other_predictions"] == 0, row
    rates = {
        (r["way"], r["threads"], r["batch_size"]): r for r in result["alone"]["images_per_second"]
    }
    assert len(rates) == 7 * 2 + 3
    assert rates[WHOLE, 0, IMAGES]["median"] > 0
    assert all(len(row["samples"]) == 2 for row in rates.values())
    assert [row["calls"] for row in result["alone"]["latency_us"]] == [6] * 7
    assert 0 <= result["disturbed"] <= 1
    text = (reports / "inference.md").read_text()
    assert f"{result['headline']['images_per_second']:,} images/s" in text
    assert (reports / "inference.png").exists()


def test_without_weights_it_says_what_to_do(folder: Path) -> None:
    (folder / WEIGHTS).unlink()
    with pytest.raises(UserError, match=r"weights.safetensors is missing; `dvc repro`"):
        inference.main(rounds=1)
