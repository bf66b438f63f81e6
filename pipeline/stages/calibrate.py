"""The `calibrate` stage: set the thresholds of novelty and of the prediction sets.

They come from images of the published training set that neither network was trained on. The stage
`export` writes them into the model signature.
"""

import numpy as np
import torch

from pipeline.config import Calibrate
from pipeline.core.files import read_tensors, sha256
from pipeline.core.reports import CalibrationReport, PredictionSet
from pipeline.core.task import Task
from pipeline.core.workspace import Workspace
from pipeline.evaluation.conformal import least_probability, threshold
from pipeline.training.detector import Detector, build_detector
from pipeline.training.fusion import ClassifierWithDetector
from pipeline.training.network import Classifier, build_network, load_weights


def run(workspace: Workspace, params: Calibrate, task: Task) -> None:
    """Write reports/calibration.json."""
    network = load_weights(build_network(task), workspace.weights)
    detector = load_weights(build_detector(task), workspace.detector)
    data = read_tensors(workspace.calibration_set)
    batches = torch.from_numpy(data["images"]).split(500)
    with torch.inference_mode():
        trained = ClassifierWithDetector(Classifier(network, task), Detector(detector, task)).eval()
        outputs = zip(*map(trained, batches), strict=True)
        _, probabilities, novelty = (torch.cat(output).numpy() for output in outputs)
    novelty_threshold = threshold(novelty, 1 - params.refused)
    of_truth = probabilities[np.arange(len(probabilities)), data["labels"]]
    report = CalibrationReport(
        weights_sha256=sha256(workspace.weights),
        detector_sha256=sha256(workspace.detector),
        calibration_sha256=sha256(workspace.calibration_set),
        images=len(novelty),
        refused=params.refused,
        novelty_threshold=novelty_threshold,
        sets=tuple(
            PredictionSet(coverage=each, least_probability=least_probability(of_truth, each))
            for each in params.coverage
        ),
    )
    report.write(workspace.calibration_report)
    rules = ", ".join(f"{s.coverage:.1%} from {s.least_probability:.3g}" for s in report.sets)
    print(f"{report.images:,} images: novelty up to {novelty_threshold:.3g}; sets: {rules}")
