"""The `evaluate` stage: measure the exported file with ONNX Runtime on both test sets.

The test curve over epochs is computed after training, so it cannot influence any choice.
"""

import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from pipeline.config import Evaluate
from pipeline.core.errors import UserError
from pipeline.core.figures import save_figure
from pipeline.core.files import read_csv, read_tensors, sha256, write_csv
from pipeline.core.reports import Behaviour, ProviderReport, Speed, Subject
from pipeline.core.task import LabelledImages, Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation import figures, metrics
from pipeline.evaluation.behaviour import (
    COLUMNS,
    UNDISTORTED,
    changed_predictions,
    distorted_accuracy,
    distorted_examples,
)
from pipeline.evaluation.figures import Examples
from pipeline.evaluation.live import measure_live
from pipeline.inference.answers import decide, prediction_sets
from pipeline.inference.occlusion import occlusion_maps
from pipeline.inference.session import Answer, OnnxModel
from pipeline.negatives.kinds import generate, held_out_kinds
from pipeline.training.measuring import measure
from pipeline.training.network import build_network

SEED = 2  # of the generated images that show no class


def run(workspace: Workspace, params: Evaluate, task: Task) -> None:
    """Write metrics, behaviour, speed, curves, tables and figures to reports/evaluation.

    Two figures show the lowest values that `gate` allows; no measurement depends on them.
    """
    test = LabelledImages(**read_tensors(workspace.test_set))
    images, labels = test
    model = OnnxModel(workspace.model, params.providers[0])
    answer = model.run(images, params.batch_size)
    probabilities = answer.probabilities
    predictions = probabilities.argmax(1)

    summary = metrics.summarise(probabilities, labels)
    summary.write(workspace.metrics)
    Subject(
        model_sha256=model.sha256,
        test_sha256=sha256(workspace.test_set),
        providers=measure_providers(model, workspace.model, params, test, answer),
    ).write(workspace.subject)
    measure_speed(model, images, params).write(workspace.speed)
    negatives = {
        name: generate({name: kind}, task, params.negatives, SEED)[0]
        for name, kind in held_out_kinds(task, test).items()
    }
    behaviour = measure_behaviour(model, params, negatives, test, answer)
    behaviour.write(workspace.behaviour)

    def classify(images: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        found = model.run(images, params.batch_size)
        return found.logits.argmax(1), refusals(model, found)

    live = measure_live(workspace.live_set, params.live_minimum, model.sha256, classify)
    live.write(workspace.live_report)
    names = task.labels
    write_csv(workspace.per_class, metrics.per_class(predictions, labels, names))
    pairs = [
        {"truth": names[truth], "prediction": names[prediction]}
        for truth, prediction in zip(labels, predictions, strict=True)
    ]
    write_csv(workspace.evaluation_reports / "predictions.csv", pairs)
    curves = test_curves(workspace, images, labels, task)
    write_csv(workspace.curves, curves)

    wrong = np.flatnonzero(predictions != labels)
    confidences = probabilities.max(1)
    wrong = wrong[np.argsort(-confidences[wrong], kind="stable")]
    for name, figure in {
        "curves": figures.learning_curves(curves),
        "confusion": figures.confusion_matrix(
            metrics.confusion(predictions, labels, len(names)), names, task.noun
        ),
        "misclassified": figures.misclassified_sheet(
            images[wrong],
            labels[wrong],
            predictions[wrong],
            confidences[wrong],
            occlusion_maps(model, images[wrong[: figures.MAX_SHOWN]]),
            names,
        ),
        "distortions": figures.behaviour_sheet(
            distorted_examples(
                *test,
                {UNDISTORTED: summary.accuracy, **behaviour.distorted_accuracy},
            ),
            "accuracy on all test images",
        ),
        "negatives": figures.behaviour_sheet(
            [
                Examples(name, images[:COLUMNS], behaviour.refused_negatives[name])
                for name, images in negatives.items()
            ],
            f"refused as {model.signature.foreign}",
        ),
    }.items():
        save_figure(figure, workspace.evaluation_reports / f"{name}.png")
    print(
        f"{summary.accuracy:.2%} of {len(images):,} test images, 95 % interval "
        f"{summary.accuracy_low:.2%} to {summary.accuracy_high:.2%}"
    )
    if live.quality is not None:
        print(f"{live.quality.accuracy:.2%} of {live.images:,} images of the live test set")


def measure_providers(
    model: OnnxModel, path: Path, params: Evaluate, test: LabelledImages, expected: Answer
) -> list[ProviderReport]:
    """Measure each provider that works on this machine on the test set.

    `expected`: the answer of the first one, which `model` uses.
    """
    first, *others = params.providers
    found = {first: expected}
    for name in others:
        try:
            found[name] = OnnxModel(path, name).run(test.images, params.batch_size)
        except UserError as error:
            print(f"not measured: {error}")

    def verdicts(answer: Answer) -> NDArray[np.str_]:
        return np.array(decide(model.signature, answer.probabilities, answer.novelty).verdicts)

    reports = []
    for name, answer in found.items():
        classes = answer.logits.argmax(1)
        reports.append(
            ProviderReport(
                name=name,
                accuracy=float((classes == test.labels).mean()),
                prediction_differences=int((classes != expected.logits.argmax(1)).sum()),
                verdict_differences=int((verdicts(answer) != verdicts(expected)).sum()),
                max_logit_difference=float(np.abs(answer.logits - expected.logits).max()),
                max_novelty_difference=float(np.abs(answer.novelty - expected.novelty).max()),
            )
        )
    return reports


def measure_behaviour(
    model: OnnxModel,
    params: Evaluate,
    negatives: Mapping[str, NDArray[np.uint8]],
    test: LabelledImages,
    answer: Answer,
) -> Behaviour:
    """Measure the first provider's answers on changed test images and on images without a class.

    `negatives`: the latter, by kind; `answer`: that on the test images as they are.
    """

    def run(images: NDArray[np.uint8]) -> Answer:
        return model.run(images, params.batch_size)

    def classify(images: NDArray[np.uint8]) -> NDArray[np.int64]:
        classes: NDArray[np.int64] = run(images).logits.argmax(1)
        return classes

    def refused(answer: Answer) -> float:
        return float(refusals(model, answer).mean())

    truth = np.arange(len(test.labels)), test.labels
    return Behaviour(
        model_sha256=model.sha256,
        distorted_accuracy=distorted_accuracy(classify, *test),
        changed_predictions=changed_predictions(
            classify, test.images, answer.probabilities.argmax(1)
        ),
        coverage={
            f"{rule.coverage:g}": float(prediction_sets(rule, answer.probabilities)[truth].mean())
            for rule in model.signature.sets
        },
        refused=refused(answer),
        refused_negatives={name: refused(run(images)) for name, images in negatives.items()},
    )


def refusals(model: OnnxModel, answer: Answer) -> NDArray[np.bool_]:
    """Whether each image [N] counts as showing no class."""
    found = decide(model.signature, answer.probabilities, answer.novelty)
    return np.array([label is None for label in found.labels], bool)


def measure_speed(model: OnnxModel, images: NDArray[np.uint8], params: Evaluate) -> Speed:
    """Measure single-image latency in ms (p50, p99) and batch throughput in images/s."""
    model.run(images[:100], 1)  # warm up
    latencies = []
    for index in range(params.latency_calls):
        image = images[index % len(images)][None]
        started = time.perf_counter()
        model.run(image)
        latencies.append(1000 * (time.perf_counter() - started))
    started = time.perf_counter()
    model.run(images, params.batch_size)
    seconds = time.perf_counter() - started
    return Speed(
        latency_ms_p50=round(float(np.percentile(latencies, 50)), 4),
        latency_ms_p99=round(float(np.percentile(latencies, 99)), 4),
        images_per_second=round(len(images) / seconds),
    )


def test_curves(
    workspace: Workspace, images: NDArray[np.uint8], labels: NDArray[np.uint8], task: Task
) -> list[dict[str, float]]:
    """Return training metrics and, for the averaged weights, test metrics: one row per epoch."""
    network = build_network(task).to(memory_format=torch.channels_last)
    pixels, targets = torch.from_numpy(images), torch.from_numpy(labels).long()
    rows = []
    for row in tqdm(read_csv(workspace.history), desc="test curve", unit=" epochs", disable=None):
        weights = read_tensors(workspace.epochs / f"{int(row['epoch']):02}.safetensors")
        network.load_state_dict({name: torch.from_numpy(w) for name, w in weights.items()})
        loss, accuracy = measure(task, network, pixels, targets)
        rows.append(
            {
                "epoch": int(row["epoch"]),
                "training_loss": row["training_loss"],
                "test_loss": loss,
                "training_accuracy": row["training_accuracy"],
                "test_accuracy": accuracy,
            }
        )
    return rows
