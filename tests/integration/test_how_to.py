"""docs/how-to: the Python snippets run unchanged, and so does the example task."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from pipeline.config import load_params
from pipeline.core.files import read_csv
from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT, UNTRACKED, needs_model
from tests.services import listening, make_app

PAGES = PROJECT / "docs/how-to"
EXAMPLE = PAGES / "start-your-own.md"
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"# ([\w/]+\.py)\n")  # a snippet that starts with this line is a file
ADDRESS = "127.0.0.1:8000"  # the HTTP service on the pages; the tests use another port
# test_tracking.py and test_alias_following.py cover snippets that use them
STORES = ("mlflow.db", "create_webhook")
COMMANDS = """
from runpy import run_path
from pipeline.cli import app
run_path("draw.py")
for command in ["use", "shapes.yaml"], ["fetch"], ["prepare"], ["train"], ["summary"]:
    app(command, standalone_mode=False)
"""  # the commands on the page, run in one process


def snippets(page: Path) -> list[str]:
    """The Python snippets on a page."""
    return [str(code) for code in SNIPPET.findall(page.read_text(encoding="utf-8"))]


def run(folder: Path, *words: str) -> str:
    """Run Python in a folder and return its output."""
    result = subprocess.run(
        [sys.executable, *words], cwd=folder, env=UNTRACKED, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def uses_store(code: str) -> bool:
    """Whether a snippet requires an MLflow store."""
    return any(name in code for name in STORES)


@needs_model
def test_snippets_run_unchanged() -> None:
    pages = [page for page in sorted(PAGES.glob("*.md")) if page != EXAMPLE]
    codes = [code for page in pages for code in snippets(page) if not uses_store(code)]
    assert codes
    with listening(make_app()) as port:
        for code in codes:
            run(PROJECT, "-c", code.replace(ADDRESS, f"127.0.0.1:{port}"))


def test_the_example_task_trains_as_written(tmp_path: Path) -> None:
    """Covers data, network, and augmentation; the letters tests cover the stages from export on."""
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    for code in snippets(EXAMPLE):
        file = FILE.match(code)
        assert file, code
        path = tmp_path / file[1]
        path.parent.mkdir(exist_ok=True)
        path.write_text(code, encoding="utf-8")
    printed = run(tmp_path, "-c", COMMANDS)
    params = load_params(tmp_path / "params.yaml")
    assert printed.endswith(f" {params.gate.parameters:,}\n")
    last = read_csv(Workspace(tmp_path).history)[-1]
    assert last["training_accuracy"] > params.gate.min_accuracy
