"""The exit status and output of `python -m pipeline gate`."""

import re
from pathlib import Path

import pytest
import yaml

from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT, python
from tests.reports import BEHAVIOUR, EXPORT, LIVE, METRICS, SUBJECT, gate_params

STRICT = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with params.yaml and reports that pass the gate."""
    workspace = Workspace(tmp_path)
    params = yaml.safe_load((PROJECT / "params.yaml").read_text())
    params["gate"] = gate_params(SUBJECT.test_sha256).model_dump(mode="json")
    workspace.params.write_text(yaml.safe_dump(params))
    for report, path in (
        (METRICS, workspace.metrics),
        (SUBJECT, workspace.subject),
        (BEHAVIOUR, workspace.behaviour),
        (LIVE, workspace.live_report),
        (EXPORT, workspace.export_report),
    ):
        report.write(path)
    return workspace


def test_a_refusal_exits_with_1_and_names_the_failed_criteria(workspace: Workspace) -> None:
    METRICS.model_copy(update={"accuracy": 0.9839}).write(workspace.metrics)
    result = python(workspace.root, "-m", "pipeline", "gate")
    assert result.returncode == 1
    assert workspace.gate_table.read_text() in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert re.search("test accuracy .*0.9839", line)
    assert "model bytes" not in line


def test_a_passed_gate_exits_with_0_in_any_locale_without_torch(workspace: Workspace) -> None:
    """A crash would also exit with 1, the status of a refusal."""
    program = (
        "import sys; sys.argv = ['pipeline', 'gate']\n"
        "from pipeline.cli import main\n"
        "try: main()\n"
        "finally: print('loaded:', *sorted({'torch', 'onnxruntime', 'mlflow'} & {*sys.modules}))"
    )
    result = python(workspace.root, "-c", program, **STRICT)
    assert (result.returncode, result.stderr) == (0, "")
    assert r"\u2265 0.99" in result.stdout
    assert result.stdout.splitlines()[-1].split() == ["loaded:"]
