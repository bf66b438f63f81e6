"""The `export` stage: write classifier and detector as one ONNX file that takes raw images.

The file holds the fused networks. The report states how far its outputs deviate from those of the
trained networks in torch.
"""

import numpy as np
import onnx
import torch
from onnx import helper

from pipeline.config import Export
from pipeline.core.errors import UserError
from pipeline.core.files import read_tensors, sha256, write_bytes
from pipeline.core.reports import CalibrationReport, ExportReport
from pipeline.core.task import ImageForm, Task
from pipeline.core.workspace import Workspace
from pipeline.inference.session import Answer, OnnxModel
from pipeline.inference.signature import Signature
from pipeline.training.detector import Detector, build_detector
from pipeline.training.fusion import ClassifierWithDetector, FusedClassifier, FusedDetector
from pipeline.training.network import Classifier, build_network, count_parameters, load_weights


def run(workspace: Workspace, params: Export, task: Task) -> None:
    """Write artifacts/model.onnx and the report on its parity with torch.

    Raises UserError if the thresholds are those of other weights.
    """
    network = load_weights(build_network(task), workspace.weights)
    detector = load_weights(build_detector(task), workspace.detector)
    weights, detector_weights = sha256(workspace.weights), sha256(workspace.detector)
    calibration = CalibrationReport.read(workspace.calibration_report)
    if (calibration.weights_sha256, calibration.detector_sha256) != (weights, detector_weights):
        raise UserError(f"{workspace.calibration_report} is on other weights: run `dvc repro`")
    parameters = count_parameters(network)
    images = read_tensors(workspace.training_set)["images"]
    deciles = np.quantile(images.mean((1, 2)), np.arange(1, 10) / 10)
    fused = ClassifierWithDetector(FusedClassifier(network, task), FusedDetector(detector, task))
    model = to_onnx(fused.eval(), task.form, params.opset)
    helper.set_model_props(
        model,
        Signature.of(
            task,
            mean_pixel_deciles=tuple(round(float(decile), 4) for decile in deciles),
            novelty_threshold=calibration.novelty_threshold,
            sets=calibration.sets,
            parameters=parameters,
            data_sha256=sha256(workspace.training_set),
            weights_sha256=weights,
            detector_sha256=detector_weights,
        ).to_metadata(),
    )
    onnx.checker.check_model(model, full_check=True)
    write_bytes(workspace.model, model.SerializeToString(deterministic=True))

    images = images[: params.parity_images]
    trained = ClassifierWithDetector(Classifier(network, task), Detector(detector, task)).eval()
    with torch.inference_mode():
        logits, _, novelty = (output.numpy() for output in trained(torch.from_numpy(images)))
    found = OnnxModel(workspace.model).run(images)
    report = ExportReport(
        model_sha256=sha256(workspace.model),
        weights_sha256=weights,
        detector_sha256=detector_weights,
        model_bytes=workspace.model.stat().st_size,
        parameters=parameters,
        opset=params.opset,
        parity_images=len(images),
        max_logit_difference=float(np.abs(found.logits - logits).max()),
        max_novelty_difference=float(np.abs(found.novelty - novelty).max()),
        prediction_differences=int((found.logits.argmax(1) != logits.argmax(1)).sum()),
    )
    report.write(workspace.export_report)
    print(
        f"{workspace.model}: {report.model_bytes:,} bytes, {parameters:,} parameters; on "
        f"{len(images):,} images logits differ from torch by at most "
        f"{report.max_logit_difference:.2g}, novelty by {report.max_novelty_difference:.2g}"
    )


def to_onnx(module: torch.nn.Module, form: ImageForm, opset: int) -> onnx.ModelProto:
    """Convert a ClassifierWithDetector to ONNX, with a dynamic batch axis, without local paths."""
    program = torch.onnx.export(
        module,
        (torch.zeros(2, form.height, form.width, dtype=torch.uint8),),
        input_names=["images"],
        output_names=list(Answer._fields),
        dynamic_shapes={"images": {0: torch.export.Dim("N")}},
        opset_version=opset,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    assert program is not None
    model = program.model_proto
    # the exporter records stack traces, which contain local paths
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    return model
