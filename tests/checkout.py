"""The project, and copies of it in temporary folders with small data, under DVC and git."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from filelock import FileLock
from safetensors.numpy import save

from pipeline.core import workspace
from pipeline.inference.providers import OPENVINO, UnusableError, load
from tests.digits import make_digits, write_mirror
from tests.letters import drawing

PROJECT = Path(__file__).parents[1]
MODEL = PROJECT / "models/mnist-cnn.onnx"


def openvino_works() -> bool:
    """Whether this machine can use ONNX Runtime's OpenVINO provider."""
    try:
        load(OPENVINO, MODEL.read_bytes(), 1)
    except (UnusableError, FileNotFoundError):
        return False
    return True


needs_openvino = pytest.mark.skipif(not openvino_works(), reason="OpenVINO needs bfloat16")
needs_model = pytest.mark.skipif(not MODEL.exists(), reason="models/ holds no released model")
UNTRACKED = os.environ | {"PYTHONPATH": str(PROJECT), "MLFLOW_TRACKING_URI": "none"}
COPIED = [
    "dvc.yaml",
    "params.yaml",
    "prefect.yaml",
    "pyproject.toml",
    "requirements.txt",
    "versions.json",
    ".gitignore",
]
TRAINING, TEST = 2000, 500  # images
SMALL: dict[str, dict[str, Any]] = {
    "backprop": {"long_run": 400},
    "fetch": {"mirrors": ["mirror"], "timeout": 5.0, "retries": 1, "backoff": 0.01},
    "prepare": {"training_images": TRAINING, "calibration_images": 400, "test_images": TEST},
    "train": {"epochs": 3, "batch_size": 50, "weight_average": 0.9},
    "detect": {"epochs": 2, "negatives": 1000, "printed": 100},
    "calibrate": {"coverage": [0.9, 0.95], "refused": 0.05},
    "export": {"parity_images": 100},
    "evaluate": {"latency_calls": 20, "negatives": 20},
    "release": {"margin": 0.3},  # few test images prove little
    "gate": {
        "min_accuracy": 0.9,
        "min_recall": 0.7,
        "max_calibration_error": 0.3,
        "min_distorted_accuracy": {"shifted": 0.5, "thicker": 0.5},
        "max_changed_predictions": {"shift": 0.5},
        "min_coverage": {"0.95": 0.8},
        "max_refused": 0.5,
        "min_refused_negatives": {"noise": 0.1},
        "test_images": TEST,
        # printed digits give larger logits, of which bfloat16 keeps three digits
        "max_provider_logit_difference": 2.0,
        "max_provider_novelty_difference": 2.0,
    },
}


def kept(path: str) -> str:
    """A file as staged in git: local runs change reports, but not the README."""
    command = ["git", "show", f":{path}"]
    shown = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    if shown.returncode != 0:
        pytest.skip(f"git does not track {path} here")
    return shown.stdout


def python(folder: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run Python with the project's code in a folder without code, without MLflow."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=UNTRACKED | variables,
        capture_output=True,
        text=True,
    )


def with_params(folder: Path, **backprop: Any) -> Path:
    """Write the project's params.yaml with these values of backprop; returns the folder."""
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["backprop"] |= backprop
    folder.mkdir(exist_ok=True)
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    return folder


class Checkout:
    """A temporary copy of the project, and the commands to run in it."""

    def __init__(self, folder: Path) -> None:
        """Copy code and DAG into `folder`, with printed digits in mirror/ and small params."""
        self._open(folder)
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(PROJECT / "pipeline", folder / "pipeline", ignore=ignored)
        shutil.copytree(PROJECT / "notebooks", folder / "notebooks")
        for name in COPIED:
            shutil.copy(PROJECT / name, folder / name)
        files = write_mirror(folder / "mirror", TRAINING, TEST)
        images, labels = make_digits(TEST, seed=2)
        (folder / "expected.safetensors").write_bytes(save({"images": images, "labels": labels}))
        self.set_params(SMALL)
        self.set_params({"fetch": {"files": files}})
        self.set_params({"gate": {"test_sha256": self.sha256("expected.safetensors")}})
        self.run("git", "init", "--quiet").check_returncode()
        self.run("dvc", "init", "--quiet").check_returncode()
        shutil.copy(PROJECT / ".dvc/config", folder / ".dvc/config")
        for command in (
            ["git", "add", "."],
            ["git", *_AUTHOR, "commit", "--quiet", "--message", "small copy"],
        ):
            self.run(*command).check_returncode()

    @classmethod
    def at(cls, folder: Path) -> "Checkout":
        """Open a checkout that another process made."""
        found = cls.__new__(cls)
        found._open(folder)
        return found

    def _open(self, folder: Path) -> None:
        self.path = folder
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db",
            "OMP_NUM_THREADS": "1",  # two trainings would compete for the cores
            "GIT_CONFIG_GLOBAL": os.devnull,
            **_boundary(folder),
        }

    def copy(self, folder: Path, **environment: str) -> "Checkout":
        """Copy the checkout in its current state, with these changes of the environment."""
        twin = Checkout.at(Path(shutil.copytree(self.path, folder)))
        twin.environment = self.environment | _boundary(folder) | environment
        return twin

    @property
    def files(self) -> workspace.Workspace:
        """The pipeline's files in the folder."""
        return workspace.Workspace(self.path)

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command in the folder; output is captured unless `options` say otherwise."""
        settings: dict[str, Any] = {"capture_output": True, "text": True, "env": self.environment}
        result: subprocess.CompletedProcess[str] = subprocess.run(
            command, cwd=self.path, **(settings | options)
        )
        return result

    def pipeline(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run `python -m pipeline` with these arguments."""
        return self.run(sys.executable, "-m", "pipeline", *arguments, **options)

    def set_params(self, sections: dict[str, dict[str, Any]]) -> None:
        """Change values of params.yaml."""
        path = self.path / "params.yaml"
        params = yaml.safe_load(path.read_text())
        for section, values in sections.items():
            params[section] |= values
        path.write_text(yaml.safe_dump(params, sort_keys=False))

    def sha256(self, name: str) -> str:
        """The digest of a file in the folder."""
        return hashlib.sha256((self.path / name).read_bytes()).hexdigest()


def build_once(
    factory: pytest.TempPathFactory, name: str, build: Callable[[Path], Checkout]
) -> Checkout:
    """The workspace that `build` makes, once for all processes of a test run.

    The first process builds it, the others wait. Tests copy it and do not change it.
    """
    shared = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    path = shared / name / "project"
    with FileLock(shared / f"{name}.lock"):
        if (built := path.with_name("built")).exists():
            return Checkout.at(path)
        shutil.rmtree(path.parent, ignore_errors=True)  # of a failed build
        path.parent.mkdir()
        made = build(path)
        built.touch()
        return made


def repro(project: Checkout, *targets: str) -> Checkout:
    """Run `dvc repro` without MLflow, with its output in .dvc/tmp/repro.log."""
    environment = project.environment | {"MLFLOW_TRACKING_URI": "none"}
    result = project.run("dvc", "repro", *targets, env=environment)
    assert result.returncode == 0, result.stdout + result.stderr
    with (project.path / ".dvc/tmp/repro.log").open("a") as log:
        log.write(result.stdout)
    return project


def _boundary(folder: Path) -> dict[str, str]:
    """The variable that keeps git from searching parent folders for a repository."""
    return {"GIT_CEILING_DIRECTORIES": str(folder.parent)}


_AUTHOR = ["-c", "user.name=test", "-c", "user.email=test@localhost"]


def use_letters(workspace: Checkout) -> Checkout:
    """Switch task, data and thresholds of a workspace to letters."""
    folder = workspace.path / "letters"
    shutil.copytree(PROJECT / "tests/letters", folder, ignore=shutil.ignore_patterns("__pycache__"))
    training, test = 2600, 520
    files = drawing.write_mirror(workspace.path / "mirror-of-letters", training, test)
    expected = save(drawing.draw(test, seed=drawing.TEST_SEED)._asdict())
    workspace.set_params(
        {
            "fetch": {"mirrors": ["mirror-of-letters"]},
            "prepare": {
                "training_images": training,
                "calibration_images": 520,
                "test_images": test,
            },
            "train": {"epochs": 4, "noise": 0.05, "dropout": [0.0]},
            "calibrate": {"refused": 0.01},
            "gate": {
                "test_images": test,
                "test_sha256": hashlib.sha256(expected).hexdigest(),
                "parameters": 17_266,
                "max_model_bytes": 250_000,
            },
        }
    )
    path = workspace.path / "params.yaml"
    params = yaml.safe_load(path.read_text())
    params["task"], params["fetch"]["files"] = "letters", files
    path.write_text(yaml.safe_dump(params, sort_keys=False))
    return workspace
