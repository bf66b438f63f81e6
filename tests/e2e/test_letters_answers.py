"""Every command uses the released model of another task just as it uses the digits model."""

import csv
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pyarrow.parquet
import pytest
from PIL import Image

from pipeline.batch import predict, score
from pipeline.inference import Classifier
from tests.checkout import Checkout, python
from tests.letters import TASK, drawing
from tests.templates import draw

FONT = Path(matplotlib.get_data_path(), "fonts/ttf/DejaVuSans.ttf")


def share(found: Sequence[str | None], expected: Sequence[str]) -> float:
    """The share of correct predictions, below 1 since the network trains for only a few epochs."""
    return float(np.mean([a == b for a, b in zip(found, expected, strict=True)]))


@pytest.fixture
def model(letters: Checkout) -> str:
    return str(letters.path / "models/letters-cnn.onnx")


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A folder of pictures of letters in various sizes, dark on light or light on dark."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for n, letter in enumerate(TASK.labels):
        paper, ink = (30, 240) if n % 3 == 2 else (240, 20)
        Image.fromarray(draw(letter, 30 + 12 * n, paper, ink, FONT)).save(folder / f"{letter}.png")
    return folder


def test_predict_answers_with_letters(letters: Checkout, photographs: Path) -> None:
    """By default, the model is that of the workspace that contains the current folder."""
    result = letters.pipeline("predict", "--normalise", "--format=csv", str(photographs))
    assert (result.returncode, result.stderr) == (0, "")
    rows = list(csv.DictReader(result.stdout.splitlines()))
    assert share([row["label"] for row in rows], TASK.labels) >= 0.9
    fields = ["label", "confidence", "set", "novelty", "verdict"]
    assert list(rows[0]) == ["image", *fields, *TASK.labels]


def test_predict_accepts_a_workspace(letters: Checkout, photographs: Path) -> None:
    words = ["--workspace", str(letters.path), "predict", "--normalise", "--format=csv", "."]
    result = python(photographs, "-m", "pipeline", *words)
    rows = csv.DictReader(result.stdout.splitlines())
    assert share([row["label"] for row in rows], TASK.labels) >= 0.9, result.stderr


def test_images_of_the_data_set_are_read_without_normalising(model: str, tmp_path: Path) -> None:
    images, numbers = drawing.draw(260, seed=4)
    expected = [TASK.labels[number] for number in numbers]
    np.save(tmp_path / "letters.npy", images)
    output = tmp_path / "out.csv"
    assert predict.run([str(tmp_path / "letters.npy")], model, normalise=False, output=str(output))
    with output.open(newline="") as file:
        found = [row["label"] for row in csv.DictReader(file)]
    assert share(found, expected) >= 0.95
    assert score.run([tmp_path / "letters.npy"], tmp_path / "out", model, normalise=False)
    scored = pyarrow.parquet.read_table(tmp_path / "out")["label"].to_pylist()
    assert scored == [label or None for label in found]  # CSV has no null


def test_score_answers_with_letters(model: str, photographs: Path, tmp_path: Path) -> None:
    assert score.run([photographs], tmp_path / "out.parquet", model, normalise=True)
    found = pyarrow.parquet.read_table(tmp_path / "out.parquet")
    assert share(found["label"].to_pylist(), TASK.labels) >= 0.9
    assert "letter" not in found.schema.names
    assert {len(row) for row in found["probabilities"].to_pylist()} == {26}


def test_the_library_returns_letter_labels(model: str, photographs: Path) -> None:
    classifier = Classifier(model)
    images = [classifier.from_image(path) for path in sorted(photographs.iterdir())]
    assert share(classifier.predict(np.concatenate(images)).labels, TASK.labels) >= 0.9
