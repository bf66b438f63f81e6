"""The whole DAG runs a task other than digits, selected in params.yaml alone."""

import csv
import json

import onnx
import pytest

from pipeline.inference.session import OnnxModel
from tests.checkout import PROJECT, Checkout
from tests.letters import TASK, drawing


def test_a_change_of_params_alone_trains_and_releases_letters(letters: Checkout) -> None:
    for file in [PROJECT / "dvc.yaml", *(PROJECT / "pipeline").rglob("*.py")]:
        assert (letters.path / file.relative_to(PROJECT)).read_bytes() == file.read_bytes()
    model = OnnxModel(letters.path / "models/letters-cnn.onnx")
    images, labels = drawing.draw(520, seed=3)  # used for neither training nor testing
    assert (model.run(images)[0].argmax(1) == labels).mean() > 0.95
    metrics = json.loads((letters.path / "reports/evaluation/metrics.json").read_text())
    assert (metrics["images"], metrics["accuracy"] > 0.95) == (520, True)


def test_the_signature_is_that_of_the_task(letters: Checkout) -> None:
    path = letters.path / "models/letters-cnn.onnx"
    signature = OnnxModel(path).signature
    assert signature.labels == TASK.labels
    assert signature.form == TASK.form
    assert (signature.model, signature.noun, signature.data_set) == (
        *(TASK.model, TASK.noun, TASK.data_set),
    )
    graph = onnx.load(path).graph
    shapes = [
        [dimension.dim_value for dimension in value.type.tensor_type.shape.dim[1:]]
        for value in (*graph.input, *graph.output)
    ]
    assert shapes == [[32, 32], [26], [26], []]


def test_every_table_and_the_card_name_the_letters(letters: Checkout) -> None:
    for name in ("prepare/classes.csv", "evaluation/classes.csv"):
        with (letters.path / "reports" / name).open(newline="") as file:
            assert "".join(row["label"] for row in csv.DictReader(file)) == "".join(TASK.labels)
    card = (letters.path / "models/MODEL_CARD.md").read_text()
    assert all(f"| {letter} |" in card for letter in TASK.labels)


@pytest.mark.parametrize(
    ("stage", "modules"),
    [
        ("prepare", ["__init__", "data"]),
        ("train", ["__init__", "augmentation", "network"]),
        ("detect", ["__init__", "augmentation"]),
        ("calibrate", ["__init__", "network"]),
        ("export", ["__init__", "network"]),
        ("evaluate", ["__init__", "network"]),
    ],
)
def test_dvc_depends_on_the_files_of_the_task(
    letters: Checkout, stage: str, modules: list[str]
) -> None:
    """Editing the task's network retrains it; editing the digits network changes nothing."""
    lock = (letters.path / "dvc.lock").read_text()
    section = lock.partition(f"  {stage}:\n")[2].partition("    outs:")[0]
    assert [f"letters/{name}.py" in section for name in modules] == [True] * len(modules)
    assert "pipeline/mnist" not in section


def test_the_training_report_names_the_code_of_the_task(letters: Checkout) -> None:
    report = json.loads((letters.path / "reports/train/summary.json").read_text())
    assert report["task"] == "letters"
    code = report["code_sha256"]
    assert code["letters/network.py"] == letters.sha256("letters/network.py")
    assert code["pipeline/training/trainer.py"] == letters.sha256("pipeline/training/trainer.py")
    assert not [path for path in code if path.startswith("pipeline/mnist")]
