"""evaluate measures the exported file: metrics, curves, speed and tables."""

from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_weights

from pipeline.config import Evaluate
from pipeline.core.collect_report import LiveReport
from pipeline.core.errors import UserError
from pipeline.core.files import read_csv, sha256, write_csv
from pipeline.core.reports import (
    Behaviour,
    Metrics,
    PredictionSet,
    ProviderReport,
    Speed,
    Subject,
)
from pipeline.core.task import LabelledImages
from pipeline.core.workspace import Workspace
from pipeline.evaluation import figures
from pipeline.evaluation.distortions import DISTORTIONS
from pipeline.evaluation.live import measure_live
from pipeline.inference.occlusion import occlusion_maps
from pipeline.inference.providers import CPU, CUDA, OPENVINO
from pipeline.inference.session import Answer, OnnxModel
from pipeline.mnist import TASK
from pipeline.mnist.network import build_network
from pipeline.stages import evaluate
from tests.checkout import MODEL, needs_model
from tests.digits import Images, make_digits
from tests.releases import signature

PARAMS = Evaluate(
    providers=("CPUExecutionProvider",),
    batch_size=7,
    latency_calls=10,
    negatives=10,
    live_minimum=20,
)
COUNT = 60


@pytest.fixture(scope="module")
def digits() -> tuple[Images, Images]:
    """Printed digits; the last ten are rotated by 90 degrees, so that some are misclassified."""
    images, labels = make_digits(COUNT, seed=1)
    images[-10:] = np.rot90(images[-10:], axes=(1, 2))
    return images, labels


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    return Workspace(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def evaluated(workspace: Workspace, digits: tuple[Images, Images]) -> Mock:
    """Run the stage; returns the recorded call that draws the sheet of misclassified images."""
    for path in (workspace.test_set, workspace.model, workspace.epochs / "x"):
        path.parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(zip(("images", "labels"), digits, strict=True)), workspace.test_set)
    workspace.model.write_bytes(MODEL.read_bytes())
    rows = []
    for epoch in (1, 2):
        torch.manual_seed(epoch)
        save_weights(build_network().state_dict(), workspace.epochs / f"{epoch:02}.safetensors")
        measured = {"training_loss": 1 / epoch, "training_accuracy": epoch / 4}
        rows.append({"epoch": epoch, **measured, "seconds": 1.0})
    write_csv(workspace.history, rows)
    sheet = Mock(wraps=figures.misclassified_sheet)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "misclassified_sheet", sheet)
        evaluate.run(workspace, PARAMS, TASK)
    return sheet


@needs_model
def test_the_reports_describe_the_exported_file_on_the_test_set(
    workspace: Workspace, evaluated: Mock, digits: tuple[Images, Images]
) -> None:
    images, labels = digits
    found = OnnxModel(MODEL).run(images).probabilities.argmax(1)
    errors = int((found != labels).sum())
    assert 2 <= errors < COUNT
    metrics = Metrics.read(workspace.metrics)
    assert (metrics.images, metrics.misclassified) == (COUNT, errors)
    assert metrics.accuracy == pytest.approx(1 - errors / COUNT)
    assert Subject.read(workspace.subject) == Subject(
        model_sha256=sha256(MODEL),
        test_sha256=sha256(workspace.test_set),
        providers=[
            ProviderReport(
                name="CPUExecutionProvider",
                accuracy=(COUNT - errors) / COUNT,
                prediction_differences=0,
                verdict_differences=0,
                max_logit_difference=0.0,
                max_novelty_difference=0.0,
            )
        ],
    )
    behaviour = Behaviour.read(workspace.behaviour)
    assert behaviour.model_sha256 == sha256(MODEL)
    thin = OnnxModel(MODEL).run(DISTORTIONS["thinner"](images)).logits.argmax(1)
    assert behaviour.distorted_accuracy["thinner"] == (thin == labels).mean()
    assert 0 < behaviour.changed_predictions["stroke"] < 1
    pairs = read_csv(workspace.evaluation_reports / "predictions.csv")
    assert [(row["truth"], row["prediction"]) for row in pairs] == [
        *zip(labels.tolist(), found.tolist(), strict=True)
    ]
    classes = read_csv(workspace.per_class, texts=["label"])
    assert tuple(row["label"] for row in classes) == TASK.labels
    assert [row["images"] for row in classes] == np.bincount(labels, minlength=10).tolist()
    assert {path.name for path in workspace.evaluation_reports.glob("*.png")} == {
        "curves.png",
        "confusion.png",
        "distortions.png",
        "negatives.png",
        "misclassified.png",
    }
    assert Speed.read(workspace.speed).images_per_second > 0


@needs_model
@pytest.mark.parametrize("images", [0, 19, 20, 60])
def test_the_live_test_set_is_measured_once_it_is_large_enough(
    digits: tuple[Images, Images], tmp_path: Path, images: int
) -> None:
    path, model = tmp_path / "live.safetensors", OnnxModel(MODEL)
    pixels, labels = (part[:images] for part in digits)
    save_file({"images": pixels, "labels": labels}, path)

    def classify(given: Images) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        return model.run(given).logits.argmax(1), np.arange(len(given)) < 5

    report = measure_live(path, 20, model.sha256, classify)
    assert (report.images, report.live_sha256) == (images, sha256(path))
    if images < 20:
        assert report.quality is None
        return
    assert report.quality is not None
    accuracy = (classify(pixels)[0] == labels).mean()
    assert report.quality.accuracy == pytest.approx(accuracy)
    assert report.quality.accuracy_low < accuracy <= report.quality.accuracy_high
    assert report.quality.refused == pytest.approx(5 / images)


@needs_model
def test_without_a_live_test_set_nothing_is_measured(workspace: Workspace, evaluated: Mock) -> None:
    report = LiveReport.read(workspace.live_report)
    assert (report.images, report.live_sha256, report.quality) == (0, None, None)
    assert report.model_sha256 == sha256(MODEL)


@needs_model
def test_each_provider_that_works_is_compared_with_the_first(
    digits: tuple[Images, Images],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A stand-in that reads 5 as 3 is as good as OpenVINO, but needs no bfloat16."""
    images, labels = digits
    model = OnnxModel(MODEL)
    answer = model.run(images)
    expected, swapped = answer.logits, answer.logits.copy()
    swapped[:, [3, 5]] = swapped[:, [5, 3]]
    far = answer.novelty + np.float32(2e3) * (labels == 7)

    def load(_: Path, name: str) -> Mock:
        if name == CUDA:
            raise UserError("no GPU")
        assert name == OPENVINO
        return Mock(run=lambda *_: answer._replace(logits=swapped, novelty=far))

    monkeypatch.setattr(evaluate, "OnnxModel", load)
    params = PARAMS.model_copy(update={"providers": (CPU, OPENVINO, CUDA)})
    cpu, openvino = evaluate.measure_providers(
        model, MODEL, params, LabelledImages(images, labels), answer
    )
    assert (cpu.name, cpu.prediction_differences, cpu.max_logit_difference) == (CPU, 0, 0)
    assert (cpu.verdict_differences, cpu.max_novelty_difference) == (0, 0)
    known = answer.novelty <= model.signature.novelty_threshold
    assert openvino.verdict_differences == (known & (labels == 7)).sum() > 0
    assert openvino.max_novelty_difference == pytest.approx(2e3)
    classes = expected.argmax(1)
    differing = int(np.isin(classes, [3, 5]).sum())
    assert differing > 0
    assert openvino.prediction_differences == differing
    assert openvino.accuracy == (swapped.argmax(1) == labels).mean() != cpu.accuracy
    assert openvino.max_logit_difference == np.abs(expected - swapped).max()
    assert "no GPU" in capsys.readouterr().out


@needs_model
def test_the_most_confident_errors_are_shown_first(
    evaluated: Mock, digits: tuple[Images, Images]
) -> None:
    images, labels, predictions, confidences, maps, _ = evaluated.call_args.args
    np.testing.assert_allclose(maps, occlusion_maps(OnnxModel(MODEL), images), atol=1e-3)
    assert list(confidences) == sorted(confidences, reverse=True)
    assert (labels != predictions).all()
    probabilities = OnnxModel(MODEL).run(images).probabilities
    assert probabilities.argmax(1).tolist() == predictions.tolist()
    np.testing.assert_allclose(probabilities.max(1), confidences, atol=1e-6)
    assert len(images) == (OnnxModel(MODEL).run(digits[0])[1].argmax(1) != digits[1]).sum()


@needs_model
def test_the_curves_contain_loss_and_accuracy_of_every_epoch(
    workspace: Workspace, evaluated: Mock, digits: tuple[Images, Images]
) -> None:
    pixels, labels = torch.from_numpy(digits[0]), torch.from_numpy(digits[1]).long()
    rows = read_csv(workspace.curves)
    assert [row["epoch"] for row in rows] == [1, 2]
    assert [row["training_loss"] for row in rows] == [1, 0.5]
    assert [row["training_accuracy"] for row in rows] == [0.25, 0.5]
    for epoch, row in enumerate(rows, start=1):
        torch.manual_seed(epoch)
        network = build_network().eval()
        with torch.inference_mode():
            scores = network((pixels[:, None] / 255 - 0.1307) / 0.3081).flatten(1)
        assert row["test_loss"] == pytest.approx(F.cross_entropy(scores, labels).item(), rel=1e-4)
        accuracy = (scores.argmax(1) == labels).float().mean().item()
        assert row["test_accuracy"] == pytest.approx(accuracy)


def test_refusals_and_coverage_are_those_of_answers() -> None:
    """A stand-in refuses images without ink. For all images it finds 0 likely, 1 a little less."""
    images = np.zeros((8, 28, 28), np.uint8)
    images[2:, 14, 14] = 255
    test = LabelledImages(images, np.array([0, 0, 0, 0, 0, 1, 2, 3], np.uint8))

    def run(images: Images, _: int) -> Answer:
        probabilities = np.zeros((len(images), 10), np.float32) + np.float32(0.05)
        probabilities[:, :2] = [0.35, 0.25]
        blank = np.asarray(~images.any((1, 2)), np.float32)
        return Answer(np.log(probabilities), probabilities, blank)

    rules = tuple(
        PredictionSet(coverage=coverage, least_probability=least)
        for coverage, least in ((0.5, 0.3), (0.9, 0.2), (0.99, 0.0))
    )
    signed = signature().model_copy(update={"novelty_threshold": 0.5, "sets": rules})
    model = Mock(run=run, signature=signed, sha256="f" * 64)
    negatives = {"blank": images[:2], "dots": images[2:], "half": images[1:3]}
    found = evaluate.measure_behaviour(model, PARAMS, negatives, test, run(images, 8))
    assert found.refused == 0.25
    assert found.refused_negatives == {"blank": 1.0, "dots": 0.0, "half": 0.5}
    assert found.coverage == {"0.5": 5 / 8, "0.9": 6 / 8, "0.99": 1.0}
    assert found.model_sha256 == "f" * 64


class Clock:
    """A model, with its clock, that takes n ms for the n-th single image and 4 s for a batch."""

    def __init__(self) -> None:
        self.now, self.calls = 0.0, 0
        self.first: list[int] = []  # pixel of each single image

    def perf_counter(self) -> float:
        """Seconds."""
        return self.now

    def run(self, images: Images, batch_size: int = 32) -> Any:
        """Advance the clock."""
        if batch_size == 1:
            self.now += 1000  # warm-up, not counted
        elif len(images) == 1:
            self.calls += 1
            self.now += self.calls / 1000
            self.first.append(int(images[0, 0, 0]))
        else:
            assert (len(images), batch_size) == (40, PARAMS.batch_size)
            self.now += 4


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(evaluate, "time", clock)
    return clock


def test_speed_is_latency_of_single_images_and_throughput_of_batches(
    clock: Any,
) -> None:
    images = np.zeros((40, 28, 28), np.uint8) + np.arange(40, dtype=np.uint8)[:, None, None]
    params = PARAMS.model_copy(update={"latency_calls": 101})
    assert evaluate.measure_speed(clock, images, params) == Speed(
        latency_ms_p50=51.0, latency_ms_p99=100.0, images_per_second=10
    )
    assert clock.first == [n % 40 for n in range(101)]  # each image in turn, so that none is cached
