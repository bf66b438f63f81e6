"""The examples in the description of the HTTP interface."""

from typing import Any

from pipeline.core.task import ImageForm
from pipeline.inference.fields import class_fields, field_names
from pipeline.service import protocol
from pipeline.service.challenger import report
from pipeline.service.descriptions import ENTRY_ID
from pipeline.service.pool import CHAMPION, Roles, ServedModel


def response_examples(model: ServedModel) -> dict[str, Any]:
    """An example response of each operation, by id."""
    others = len(model.signature.labels) - 1
    novelty = round(model.signature.novelty_threshold - 5, 2)
    probabilities = [0.982, *[round(0.018 / others, 6)] * others]
    tensor = {"name": "probabilities", "datatype": "FP32", "shape": [1, others + 1]}
    label = class_fields(model.signature)[0]
    values = [probabilities[0], [label["label"]], novelty, model.signature.noun, probabilities]
    recorded = {"id": ENTRY_ID, "label": model.signature.labels[-1]}
    item = {"id": ENTRY_ID, "image": [[0, 255], [0, 255]], "reason": "random"}
    return {
        "give_feedback": recorded,
        "review_label": recorded,
        "review_queue": {"items": [item], "waiting": {"random": 1}},
        "predict": dict(zip(field_names(model.signature), [*label.values(), *values], strict=True))
        | {"version": model.version},
        "describe_server": protocol.server_metadata(model),
        "server_live": {"live": True},
        "server_ready": {"ready": True},
        "describe_model": protocol.metadata(model, Roles(model)),
        "model_ready": {"name": model.name, "ready": True},
        "repository_index": [
            {"name": model.name, "version": model.version, "state": "READY", "reason": ""}
            | {"role": CHAMPION, "release": 1}
        ],
        "describe_trial": report.example(model).model_dump(),
        "infer": {
            "model_name": model.name,
            "model_version": model.version,
            "outputs": [tensor | {"data": probabilities}],
        },
    }


def request_example(form: ImageForm) -> dict[str, Any]:
    """A request with the image of a stroke, two pixels wide and as tall as the form's ink."""
    top, middle = (form.height - form.ink) // 2, form.width // 2
    data = [
        255 if top <= row < top + form.ink and column in (middle - 1, middle) else 0
        for row in range(form.height)
        for column in range(form.width)
    ]
    shape = [1, form.height, form.width]
    return {"inputs": [{"name": "images", "shape": shape, "datatype": "UINT8", "data": data}]}
