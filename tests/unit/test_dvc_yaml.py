"""dvc.yaml lists the code that affects a stage's result: otherwise a change reruns nothing."""

import re
from functools import cache
from pathlib import Path
from typing import Any

import grimp
import pytest
import yaml

from pipeline.core.workspace import Workspace
from tests.checkout import PROJECT

STAGES: dict[str, Any] = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["stages"]
TASK: str = yaml.safe_load((PROJECT / "params.yaml").read_text())["task"]
TASK_CALLS = {
    "task.read(": "data",
    '"network", "build_network"': "network",
    '"augmentation", "augment"': "augmentation",
}
DOMAIN = (
    "backprop",
    "collection",
    "evaluation",
    "inference",
    "negatives",
    "training",
)  # nothing else affects a result
NO_RESULT = {"pipeline/training/checkpoint.py"}  # resumed training gives the same weights


def dependencies(stage: str) -> set[str]:
    """The files that a stage depends on."""
    return {name.replace("${task}", TASK) for name in STAGES[stage]["deps"]}


def before(stage: str) -> set[str]:
    """The stages that run before a stage."""
    needed = {
        other
        for other, each in STAGES.items()
        for out in each["outs"]
        if (out if isinstance(out, str) else next(iter(out))) in dependencies(stage)
    }
    return needed.union(*map(before, needed))


@cache
def graph() -> grimp.ImportGraph:
    """The import graph of the stages and the domain packages."""
    found = grimp.build_graph("pipeline", exclude_type_checking_imports=True, cache_dir=None)
    for package in found.find_children("pipeline"):
        if package.partition(".")[2] not in ("stages", *DOMAIN):
            found.remove_module(package)
    return found


def files_of(modules: set[str]) -> set[str]:
    """The files of these modules."""
    files = {f"{module.replace('.', '/')}.py" for module in modules}
    return {name for name in files if (PROJECT / name).exists()}


def task_files(files: set[str]) -> set[str]:
    """The task's modules that these files call."""
    text = "".join((PROJECT / name).read_text() for name in files)
    return {f"{TASK}/{module}.py" for call, module in TASK_CALLS.items() if call in text}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_depends_on_the_code_that_it_imports(stage: str) -> None:
    code = {f"pipeline/stages/{stage}.py"}
    name = f"pipeline.stages.{stage}"
    imported = files_of(graph().find_modules_directly_imported_by(name))
    assert (code | imported | task_files(code)) - dependencies(stage) - NO_RESULT == set()


@pytest.mark.parametrize("stage", STAGES)
def test_changed_indirect_imports_rerun_the_stage_or_an_earlier_one(
    stage: str,
) -> None:
    code = files_of(graph().find_upstream_modules(f"pipeline.stages.{stage}"))
    known = dependencies(stage).union(*map(dependencies, before(stage)))
    assert (code | task_files(code)) - known - NO_RESULT == set()


def test_dvc_yaml_is_independent_of_the_task() -> None:
    """params.yaml names the task: changing it does not change the DAG."""
    assert not re.search("mnist|digit", (PROJECT / "dvc.yaml").read_text(), re.IGNORECASE)


def test_the_artifact_contains_the_output_of_release() -> None:
    (artifact,) = yaml.safe_load((PROJECT / "dvc.yaml").read_text())["artifacts"].values()
    outs = [name for out in STAGES["release"]["outs"] for name in out]
    assert [name for name in outs if name.startswith(f"{artifact['path']}/")] == ["models/releases"]


def test_promoting_and_rolling_back_make_no_stage_stale() -> None:
    """What these acts write belongs to no stage."""
    outs = {
        out if isinstance(out, str) else next(iter(out))
        for stage in STAGES.values()
        for out in stage["outs"]
    }
    here = Workspace(Path())
    acts = (here.pointer, here.ledger, here.released_model, here.checksums, here.models)
    assert not outs & {path.as_posix() for path in acts}


@pytest.mark.parametrize(
    ("stage", "data"),
    [
        ("collect", {"train", "calibration", "test-hashes"}),
        ("train", {"train", "feedback"}),
        ("detect", {"train", "feedback"}),
    ],
)
def test_training_and_collecting_read_no_test_set(stage: str, data: set[str]) -> None:
    """Otherwise a model could be selected on the data it is evaluated on."""
    assert {name for name in dependencies(stage) if not name.endswith(".py")} == {
        f"data/{name}.safetensors" for name in data
    }
    code = files_of(graph().find_upstream_modules(f"pipeline.stages.{stage}"))
    read = {
        name
        for name in {f"pipeline/stages/{stage}.py", *code} - {"pipeline/stages/collect.py"}
        if re.search(r"\.(test_set|live_set)\b", (PROJECT / name).read_text())
    }
    assert read == set()
    assert ".test_set" not in (PROJECT / "pipeline/stages/collect.py").read_text()
