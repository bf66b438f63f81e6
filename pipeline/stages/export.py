"""export: the weights as one ONNX file that takes raw images, checked against torch.

The file holds the fused network, the report says how far it is from the network as trained.
"""

import numpy as np
import onnx
import torch
from onnx import helper
from safetensors.torch import load_file

from pipeline.config import Export
from pipeline.core.errors import UserError, first_line
from pipeline.core.files import existing, read_tensors, sha256, write_bytes, write_json
from pipeline.core.paths import EXPORT_REPORT, MODEL, TRAIN, WEIGHTS
from pipeline.inference.session import DECILES, OnnxModel
from pipeline.mnist.network import CLASSES, Classifier, build_network, count_parameters
from pipeline.training.fusion import FusedClassifier

VERSION = "1"  # of the interface: names, types and shapes of input and outputs


def run(params: Export) -> None:
    """Write artifacts/model.onnx and the report of its parity with torch."""
    network = build_network()
    existing(WEIGHTS)
    try:
        network.load_state_dict(load_file(WEIGHTS))
    except Exception as error:
        reason = first_line(error)
        raise UserError(f"{WEIGHTS} does not hold this network's weights: {reason}") from error
    classifier = Classifier(network).eval()
    parameters = count_parameters(network)
    images = read_tensors(TRAIN)["images"]
    deciles = np.quantile(images.mean((1, 2)), np.arange(1, 10) / 10)
    model = to_onnx(FusedClassifier(network), params.opset)
    helper.set_model_props(
        model,
        {
            "version": VERSION,
            "classes": ",".join(CLASSES),
            "data_sha256": sha256(TRAIN),
            "weights_sha256": sha256(WEIGHTS),
            "parameters": str(parameters),
            DECILES: ",".join(f"{decile:.4f}" for decile in deciles),
        },
    )
    onnx.checker.check_model(model, full_check=True)
    write_bytes(MODEL, model.SerializeToString(deterministic=True))

    images = images[: params.parity_images]
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(images))[0].numpy()
    logits, _ = OnnxModel(MODEL).run(images)
    report = {
        "model_sha256": sha256(MODEL),
        "weights_sha256": sha256(WEIGHTS),
        "model_bytes": MODEL.stat().st_size,
        "parameters": parameters,
        "opset": params.opset,
        "parity_images": len(images),
        "max_logit_difference": float(np.abs(logits - expected).max()),
        "prediction_differences": int((logits.argmax(1) != expected.argmax(1)).sum()),
    }
    write_json(EXPORT_REPORT, report)
    print(
        f"{MODEL}: {report['model_bytes']:,} bytes, {parameters:,} parameters; on {len(images):,} "
        f"images logits differ from torch by at most {report['max_logit_difference']:.2g}"
    )


def to_onnx(classifier: torch.nn.Module, opset: int) -> onnx.ModelProto:
    """The module as an ONNX model with a dynamic batch axis and no trace of this machine."""
    program = torch.onnx.export(
        classifier,
        (torch.zeros(2, 28, 28, dtype=torch.uint8),),
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
    # the exporter notes stack traces, with paths of this machine
    for part in (model, model.graph, *model.graph.node, *model.graph.input, *model.graph.output):
        del part.metadata_props[:]
    for value in (*model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    return model
