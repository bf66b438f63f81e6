"""Where the stages leave what they make, relative to the folder that holds dvc.yaml."""

from pathlib import Path

RAW = Path("data/raw")
TRAIN = Path("data/train.safetensors")
TEST = Path("data/test.safetensors")
PREPARE_REPORTS = Path("reports/prepare")

BACKPROP = Path("reports/backprop")
BACKPROP_HISTORY = BACKPROP / "history.csv"
BACKPROP_SUMMARY = BACKPROP / "summary.json"

WEIGHTS = Path("artifacts/weights.safetensors")
EPOCHS = Path("artifacts/epochs")  # averaged weights after each epoch
RESUME = Path("artifacts/resume.safetensors")  # only while training is unfinished
TRAINING_LOCK = Path("artifacts/resume.lock")  # held while training runs
TRAIN_REPORTS = Path("reports/train")
HISTORY = TRAIN_REPORTS / "history.csv"
SYSTEM = TRAIN_REPORTS / "system.csv"
SUMMARY = TRAIN_REPORTS / "summary.json"

MODEL = Path("artifacts/model.onnx")
EXPORT_REPORT = Path("reports/export.json")

EVALUATION = Path("reports/evaluation")
METRICS = EVALUATION / "metrics.json"
SUBJECT = EVALUATION / "subject.json"  # what the metrics are of
SPEED = EVALUATION / "speed.json"
CURVES = EVALUATION / "curves.csv"

GATE_REPORT = Path("reports/gate.json")
GATE_TABLE = Path("reports/gate.md")

RELEASES = Path("models")
RELEASED_MODEL = RELEASES / "mnist-cnn.onnx"
PROVENANCE = RELEASES / "provenance.json"
MODEL_CARD = RELEASES / "MODEL_CARD.md"
CHECKSUMS = RELEASES / "SHA256SUMS"

TRACKING_LOCK = Path("artifacts/track.lock")
TRACKED = Path("artifacts/mlflow.json")  # where MLflow shows what is here
WORKSPACE_LOCK = Path("artifacts/workspace.lock")


def released_model() -> Path:
    """The released model of the current folder, or else that of the checkout with this code."""
    beside = Path(__file__).parents[1] / RELEASED_MODEL
    return beside if beside.exists() and not RELEASED_MODEL.exists() else RELEASED_MODEL
