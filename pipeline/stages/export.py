"""The `export` stage: write the network as one ONNX file that takes raw images.

The file holds the fused network. The report states how far its outputs deviate from those of the
trained network in torch.
"""

import numpy as np
import onnx
import torch
from onnx import helper
from safetensors.torch import load_file

from pipeline.config import Export
from pipeline.core.errors import UserError, first_line
from pipeline.core.files import REPRO, existing, read_tensors, sha256, write_bytes
from pipeline.core.reports import ExportReport
from pipeline.core.task import ImageForm, Task
from pipeline.core.workspace import Workspace
from pipeline.inference.session import OnnxModel
from pipeline.inference.signature import Signature
from pipeline.training.fusion import FusedClassifier
from pipeline.training.network import Classifier, build_network, count_parameters


def run(workspace: Workspace, params: Export, task: Task) -> None:
    """Write artifacts/model.onnx and the report on its parity with torch."""
    network = build_network(task)
    existing(workspace.weights, REPRO)
    try:
        network.load_state_dict(load_file(workspace.weights))
    except Exception as error:
        reason = first_line(error)
        raise UserError(
            f"{workspace.weights} does not contain the weights of this network: {reason}"
        ) from error
    classifier = Classifier(network, task).eval()
    parameters = count_parameters(network)
    images = read_tensors(workspace.training_set)["images"]
    deciles = np.quantile(images.mean((1, 2)), np.arange(1, 10) / 10)
    model = to_onnx(FusedClassifier(network, task), task.form, params.opset)
    helper.set_model_props(
        model,
        Signature.of(
            task,
            mean_pixel_deciles=tuple(round(float(decile), 4) for decile in deciles),
            parameters=parameters,
            data_sha256=sha256(workspace.training_set),
            weights_sha256=sha256(workspace.weights),
        ).to_metadata(),
    )
    onnx.checker.check_model(model, full_check=True)
    write_bytes(workspace.model, model.SerializeToString(deterministic=True))

    images = images[: params.parity_images]
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(images))[0].numpy()
    logits, _ = OnnxModel(workspace.model).run(images)
    report = ExportReport(
        model_sha256=sha256(workspace.model),
        weights_sha256=sha256(workspace.weights),
        model_bytes=workspace.model.stat().st_size,
        parameters=parameters,
        opset=params.opset,
        parity_images=len(images),
        max_logit_difference=float(np.abs(logits - expected).max()),
        prediction_differences=int((logits.argmax(1) != expected.argmax(1)).sum()),
    )
    report.write(workspace.export_report)
    print(
        f"{workspace.model}: {report.model_bytes:,} bytes, {parameters:,} parameters; on "
        f"{len(images):,} images logits differ from torch by at most "
        f"{report.max_logit_difference:.2g}"
    )


def to_onnx(classifier: torch.nn.Module, form: ImageForm, opset: int) -> onnx.ModelProto:
    """Convert the module to an ONNX model with a dynamic batch axis and without local paths."""
    program = torch.onnx.export(
        classifier,
        (torch.zeros(2, form.height, form.width, dtype=torch.uint8),),
        input_names=["images"],
        output_names=["logits", "probabilities"],
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
