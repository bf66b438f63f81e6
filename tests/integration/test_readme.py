"""The commands and snippets of README.md and the tutorial run unchanged in a fresh clone of HEAD.

The environment shares the packages of the one that runs the tests, so neither downloading packages
nor creating .venv is tested here. CI starts by creating .venv, and
tests/integration/test_package.py installs the wheel with its requirements. Slow commands are not
run here either: each must be a step of CI, verbatim, or appear in NOT_RUN.
"""

import os
import re
import shlex
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
import yaml

from benchmarks.servers import free_port
from pipeline.core.reports import GateReport, Subject
from tests.checkout import MODEL, PROJECT, kept
from tests.servers import wait_until

README = PROJECT / "README.md"
TUTORIAL = PROJECT / "docs/tutorial.md"
SERVERS = ["make serve"]  # commands that run until they are stopped
NOT_RUN_README = {
    "make loop",  # takes minutes; the parts of the loop have tests
    "python -m pipeline rollback",  # requires two releases; test_release.py has them
}
NOT_RUN = {  # tutorial commands that train or require trained weights
    *("dvc repro prepare", "dvc exp run --temp --set-param train.epochs=1 gate", "make fast"),
    *("git add --all", 'git commit --message "Release a model that was trained for 9 epochs"'),
    *("make mlflow", "dvc repro", "dvc checkout"),
}
ADDRESS = "http://127.0.0.1:8000"  # the HTTP service on the pages; the tests use another port
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OFFLINE = {
    "PIP_NO_DEPS": "1",
    "PIP_NO_INDEX": "1",
    "PIP_NO_BUILD_ISOLATION": "0",  # means no isolation: pip uses the installed hatchling
    "PIP_IGNORE_INSTALLED": "1",
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
}


def scripts(page: Path) -> Iterator[tuple[str, str]]:
    """The language and code of each snippet, in order; console commands are separate snippets."""
    for language, code in FENCE.findall(page.read_text(encoding="utf-8")):
        if language == "console":
            code = code.replace("\\\n", "")
            yield from (("bash", line[2:]) for line in code.splitlines() if line[:2] == "$ ")
        elif language == "python":
            yield language, code


def steps_of_ci() -> set[str]:
    """The commands that .ci/run and the workflows run."""
    lines = (PROJECT / ".ci/run").read_text(encoding="utf-8").splitlines()
    for workflow in PROJECT.glob(".github/workflows/*.yml"):
        jobs = yaml.safe_load(workflow.read_text(encoding="utf-8"))["jobs"]
        for job in jobs.values():
            for step in job.get("steps", []):
                lines += step.get("run", "").splitlines()
    return {line.strip() for line in lines}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone of HEAD in which make considers both environments up to date."""
    kept("README.md")  # skips without git
    folder = tmp_path_factory.mktemp("readme") / "clone"
    subprocess.run(["git", "clone", "--quiet", "--shared", PROJECT, folder], check=True)
    for name in (".venv", ".venv-serve"):
        (folder / name / "bin").mkdir(parents=True)
        (folder / name / "installed").touch()
        (folder / name / "bin/activate").touch()
    python = folder / ".venv-serve/bin/python"
    python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    python.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Variables that activate an empty environment, which shares all packages except this one."""
    folder = tmp_path_factory.mktemp("environments") / "reader"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site,) = folder.glob("lib/python*/site-packages")
    (site / "shared.pth").write_text(sysconfig.get_path("purelib"))
    path = [folder / "bin", Path(sys.executable).parent, os.environ["PATH"]]
    others = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    return others | OFFLINE | {"PATH": os.pathsep.join(map(str, path)), "PORT": str(free_port())}


@pytest.mark.parametrize(
    ("page", "not_run"), [(README, NOT_RUN_README), (TUTORIAL, NOT_RUN)], ids=["README", "tutorial"]
)
def test_commands_and_snippets_run_unchanged(
    clone: Path, environment: dict[str, str], page: Path, not_run: set[str]
) -> None:
    elsewhere, address = steps_of_ci() | not_run, f"http://127.0.0.1:{environment['PORT']}"
    ran = []
    with ExitStack() as stack:
        for language, code in scripts(clone / page.relative_to(PROJECT)):
            command = code.partition("  #")[0].strip() if language == "bash" else code
            if command in elsewhere:
                continue
            words = [language, "-c", code.replace(ADDRESS, address)]
            if command in SERVERS:
                stack.enter_context(running(words, clone, environment, address))
            else:
                result = subprocess.run(
                    words, cwd=clone, env=environment, capture_output=True, text=True
                )
                assert result.returncode == 0, f"{code}\n{result.stdout}{result.stderr}"
            ran.append(command)
    assert ran  # otherwise the page's format is not recognised


@contextmanager
def running(
    words: list[str], folder: Path, environment: dict[str, str], address: str
) -> Iterator[None]:
    """Run a server; the block starts once the address answers."""
    process = subprocess.Popen(words, cwd=folder, env=environment, start_new_session=True)

    def answers() -> bool:
        assert process.poll() is None, words
        try:
            return requests.get(address, timeout=5).ok
        except requests.RequestException:
            return False

    try:
        wait_until(answers)
        yield
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub generates for a page's headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("link", sorted(set(re.findall(r"\]\(([^):]+)\)", README.read_text()))))
def test_link_targets_exist(link: str) -> None:
    path, _, anchor = link.partition("#")
    page = PROJECT / path if path else README
    assert page.exists()
    assert not anchor or anchor in anchors(page)


def test_every_make_target_that_the_documentation_names_exists() -> None:
    makefile = (PROJECT / "Makefile").read_text(encoding="utf-8")
    for page in [README, *PROJECT.glob("docs/**/*.md")]:
        for target in re.findall(
            r"(?:`|^\$ )make ([a-z-]+)", page.read_text("utf-8"), re.MULTILINE
        ):
            assert re.search(rf"^{target}:.*## ", makefile, re.MULTILINE), f"{page}: {target}"


def test_the_reports_are_about_the_released_model() -> None:
    digest = Subject.model_validate_json(kept("reports/evaluation/subject.json")).model_sha256
    verdict = GateReport.model_validate_json(kept("reports/gate.json"))
    assert verdict.passed
    assert verdict.model_sha256 == digest
    assert f"{digest}  {MODEL.name}\n" in kept("models/SHA256SUMS")
