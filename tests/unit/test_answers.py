"""Answers use the model's own class names, whatever data set it was trained on."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

from pipeline.batch import predict, score
from pipeline.batch.formats import Format
from pipeline.core.errors import UserError
from pipeline.core.reports import PredictionSet
from pipeline.inference import Classifier
from pipeline.inference.answers import decide
from pipeline.inference.fields import class_fields, labels_of
from pipeline.inference.session import OnnxModel
from pipeline.inference.signature import INTERFACE, KEY, Signature
from tests.services import client_of, make_app
from tests.templates import FORM, LETTERS, draw, write_model

WORD = "BRIDLED"
FIELDS = ["label", "confidence", "set", "novelty", "verdict"]


@pytest.fixture(scope="module")
def letters(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("letters") / "letters.onnx")


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Pictures of one letter each: various sizes, dark on light and light on dark."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n, letter in enumerate(WORD):
        paper, ink = (15, 250) if n % 2 else (245, 20)
        picture = draw(letter, size=40 + 30 * n, paper=paper, ink=ink)
        Image.fromarray(picture).save(folder / f"{n}.png")
    return folder


def signature(noun: str, *labels: str) -> Signature:
    rules = tuple(
        PredictionSet(coverage=c, least_probability=p) for c, p in ((0.9, 0.5), (0.99, 0.1))
    )
    return Signature(
        model="m", data_set="d", noun=noun, labels=labels, height=28, width=28, ink=20,
        mean_pixel_deciles=(0.0,) * 9, parameters=1, data_sha256="", weights_sha256="",
        detector_sha256="", novelty_threshold=1.5, sets=rules,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("probabilities", "novelty", "expected"),
    [
        ([0.95, 0.04, 0.01], -3.0, ("digit", "7", ["7"])),
        ([0.80, 0.05, 0.15], 1.5, ("unsure", "7", ["7", "9"])),  # novelty at the threshold
        ([0.80, 0.05, 0.15], 1.6, ("not a digit", None, ["7", "9"])),
        ([0.10, 0.20, 0.70], 0.0, ("unsure", "9", ["9", "8", "7"])),  # probability at the least
        ([0.00, 0.00, 1.00], 9.0, ("not a digit", None, ["9"])),  # however confident
    ],
)
def test_novelty_and_the_prediction_set_decide_the_verdict(
    probabilities: list[float], novelty: float, expected: tuple[str, str | None, list[str]]
) -> None:
    about = signature("digit", "7", "8", "9")
    rows = np.array([probabilities, [0.9, 0.09, 0.01]], np.float32)
    found = decide(about, rows, np.array([novelty, 0.0], np.float32))
    assert (
        found.verdicts[0],
        found.labels[0],
        labels_of(about, found.sets[0], rows[0]),
    ) == expected
    assert (found.verdicts[1], found.labels[1]) == ("digit", "7")


def test_a_prediction_set_is_never_empty() -> None:
    about = signature("digit", "a", "b").model_copy(
        update={"sets": (PredictionSet(coverage=0.5, least_probability=1.0),)}
    )
    found = decide(about, np.array([[0.4, 0.6]], np.float32), np.zeros(1, np.float32))
    assert found.sets.tolist() == [[False, True]]


@pytest.mark.parametrize(
    ("noun", "verdict"), [("digit", "not a digit"), ("animal", "not an animal")]
)
def test_the_verdict_names_the_noun(noun: str, verdict: str) -> None:
    assert signature(noun, "a", "b").foreign == verdict


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["7", "10"], [{"label": "7", "digit": 7}, {"label": "10", "digit": 10}]),
        (["A", "7"], [{"label": "A"}, {"label": "7"}]),
        (["٣", "٤"], [{"label": "٣"}, {"label": "٤"}]),
        (["-1", "+1"], [{"label": "-1"}, {"label": "+1"}]),
    ],
)
def test_answers_include_a_number_only_if_all_labels_are_numbers(
    labels: list[str], expected: list[dict[str, Any]]
) -> None:
    assert class_fields(signature("digit", *labels)) == expected


def test_letters_are_predicted_in_every_format(
    letters: Path, pictures: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for form in Format:
        assert predict.run([str(pictures)], str(letters), normalise=True, form=form)
        lines = capsys.readouterr().out.splitlines()
        if form is Format.TABLE:
            assert lines[0].split() == ["image", *FIELDS, *LETTERS]
            found = [line.split()[1] for line in lines[2:]]
        elif form is Format.CSV:
            rows = list(csv.DictReader(lines))
            found = [row["label"] for row in rows]
            assert all(row[row["label"]] == row["confidence"] for row in rows)
        else:
            answers = [json.loads(line) for line in lines]
            found = [answer["label"] for answer in answers]
            assert list(answers[0]) == ["image", *FIELDS, "probabilities"]
            assert {len(answer["probabilities"]) for answer in answers} == {26}
        assert "".join(found) == WORD


def answers_of_every_output(
    model: Path, folder: Path, scratch: Path, capsys: pytest.CaptureFixture[str]
) -> list[list[dict[str, Any]]]:
    """The answers for the pictures in a folder by JSON Lines, CSV, Parquet and HTTP."""
    assert predict.run([str(folder)], str(model), normalise=True, form=Format.JSONL)
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert predict.run([str(folder)], str(model), normalise=True, form=Format.CSV)
    table = []
    for row in csv.DictReader(capsys.readouterr().out.splitlines()):
        numbers = {key: float(row[key]) if row[key] else None for key in ("confidence", "novelty")}
        shares = [float(row[label]) for label in LETTERS if row[label]]
        labels = {
            "label": row["label"] or None,
            "set": row["set"].split("|") if row["set"] else None,
        }
        table.append(row | labels | numbers | {"probabilities": shares or None})
    assert score.run([folder], scratch / "out.parquet", str(model), normalise=True)
    rows = parquet.read_table(scratch / "out.parquet").to_pylist()
    with client_of(make_app(classifier=Classifier(model, threads=1))) as client:
        posted = [client.post("/predict", path.read_bytes()) for path in sorted(folder.iterdir())]
    assert {response.status_code for response in posted} == {200}
    fields = [*FIELDS, "probabilities"]
    return [
        [{key: answer[key] for key in fields} for answer in answers]
        for answers in (lines, table, rows, [response.json() for response in posted])
    ]


def test_every_output_gives_the_same_answers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    blank = np.full((80, 80), 255, np.uint8)
    two = np.concatenate([draw("E"), draw("H")], 1)
    far = np.hypot(*np.mgrid[-40:40, -40:40])
    disc = np.where(far < 20, 20, 240).astype(np.uint8)
    for name, picture in {"0": draw("E"), "1": disc, "2": blank, "3": two}.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    plain = Classifier(write_model(tmp_path / "plain.onnx"))
    found = plain.predict(np.concatenate([plain.from_image(folder / f"{n}.png") for n in "01"]))
    between = float(found.novelty.mean())
    model = write_model(tmp_path / "model.onnx", novelty_threshold=between, least_probability=0.2)
    lines, *others = answers_of_every_output(model, folder, tmp_path, capsys)
    assert [answer["verdict"] for answer in lines] == [
        "letter",
        "not a letter",
        "no ink",
        "several",
    ]
    assert [answer["label"] for answer in lines] == ["E", None, None, None]
    assert lines[0]["set"] == ["E"]
    assert lines[1]["confidence"] == max(lines[1]["probabilities"])
    for answer in lines[2:]:
        assert {key for key, value in answer.items() if value is not None} == {"verdict"}
    for answers in others:
        for answer, expected in zip(answers, lines, strict=True):
            for key, value in expected.items():
                inexact = isinstance(value, float) or (key == "probabilities" and value)
                assert answer[key] == (pytest.approx(value, rel=1e-5) if inexact else value)


def test_an_unsure_answer_has_all_its_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(draw("F")).save(folder / "0.png")
    plain = Classifier(write_model(tmp_path / "plain.onnx"))
    found = plain.predict(plain.from_image(folder / "0.png"))
    third = float(np.sort(found.probabilities[0])[-3])
    model = write_model(tmp_path / "model.onnx", least_probability=third)
    for answers in answers_of_every_output(model, folder, tmp_path, capsys):
        (answer,) = answers
        assert (answer["label"], answer["verdict"]) == ("F", "unsure")
        likely = sorted(range(26), key=lambda n: -answer["probabilities"][n])
        assert answer["set"] == [LETTERS[n] for n in likely[:3]]


def test_score_writes_letters(letters: Path, pictures: Path, tmp_path: Path) -> None:
    (pictures / "9.png").write_bytes(b"no picture")
    output = tmp_path / "out.parquet"
    assert not score.run([pictures], output, str(letters), normalise=True)
    found = parquet.read_table(output)
    assert found.schema.names == ["id", *FIELDS, "probabilities", "error", "model_sha256"]
    assert found["label"].to_pylist() == [*WORD, None]
    probabilities = found["probabilities"].to_pylist()[:-1]
    assert [len(row) for row in probabilities] == [26] * len(WORD)
    assert found["confidence"].to_pylist()[:-1] == [max(row) for row in probabilities]


@pytest.mark.parametrize("name", ["in.npy", "flat.parquet", "bytes.parquet"])
def test_images_already_in_form_are_scored_unchanged(
    letters: Path, tmp_path: Path, name: str
) -> None:
    import pyarrow as pa

    images = np.concatenate(
        [Classifier(letters).from_image(draw(letter)) for letter in WORD], dtype=np.uint8
    )
    if name == "in.npy":
        np.save(tmp_path / name, images)
    else:
        rows = [image.tobytes() if "bytes" in name else image.ravel() for image in images]
        kind = pa.binary(FORM.pixels) if "bytes" in name else pa.list_(pa.uint8())
        parquet.write_table(pa.table({"image": pa.array(rows, kind)}), tmp_path / name)
    output = tmp_path / "out.parquet"
    assert score.run([tmp_path / name], output, str(letters), normalise=False)
    assert "".join(parquet.read_table(output)["label"].to_pylist()) == WORD


def test_the_error_for_a_picture_of_the_wrong_size_states_the_required_size(
    letters: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not predict.run([str(pictures)], str(letters), normalise=False)
    assert "80 x 80 pixels (height x width), not 40 x 32; --normalise " in capsys.readouterr().err


def test_numeric_labels_above_127_fit_in_the_output(tmp_path: Path) -> None:
    model = write_model(tmp_path / "years.onnx", ("7", "200"), noun="year")
    np.save(tmp_path / "in.npy", draw("2"))
    output = tmp_path / "out.parquet"
    assert score.run([tmp_path / "in.npy"], output, str(model), normalise=True)
    found = parquet.read_table(output)
    assert found.schema.names[:3] == ["id", "label", "year"]
    assert found["year"].to_pylist() == [200]


def test_predictions_carry_class_labels(letters: Path) -> None:
    classifier = Classifier(letters)
    found = classifier.predict(classifier.from_image(draw("Q", 33, paper=0, ink=200)))
    assert (found.labels, found.classes.tolist()) == (["Q"], [LETTERS.index("Q")])
    assert found.probabilities.shape == found.logits.shape == (1, 26)


def test_a_signature_that_does_not_match_the_graph_is_refused(
    letters: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.onnx"
    text = b'"height":40,"width":32'
    content = letters.read_bytes()
    assert text in content
    other.write_bytes(content.replace(text, b'"height":32,"width":40'))
    with pytest.raises(UserError, match=r"other\.onnx: .*signature.*inputs"):
        OnnxModel(other)


def test_ink_larger_than_the_image_is_refused() -> None:
    with pytest.raises(ValueError, match="ink: 30 does not fit 28 x 28"):
        Signature.model_validate(signature("digit", "0", "1").model_dump() | {"ink": 30})


@pytest.mark.parametrize("metadata", [{}, {KEY: "{}"}, {KEY: "["}, {KEY: '{"interface": "0"}'}])
def test_an_invalid_signature_error_states_the_expected_interface(
    metadata: dict[str, str],
) -> None:
    with pytest.raises(ValueError, match=rf"^[^\n]*interface {INTERFACE};[^\n]*make repro[^\n]*$"):
        Signature.from_metadata(metadata)


def test_the_subject_does_not_repeat_the_noun() -> None:
    digits = signature("digit", "0", "1")
    for data_set, subject in (("MNIST", "MNIST digits"), ("Printed Digits", "Printed Digits")):
        assert digits.model_copy(update={"data_set": data_set}).subject == subject
