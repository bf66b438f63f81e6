"""python -m benchmarks.pipeline.stages: run all stages in turn in this process.

`python -m benchmarks overhead` runs it. All modules are imported first. Prints `stage NAME` before
each stage, and `stage` after the last.
"""

import importlib
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.cli.app import collect_garbage_rarely
from pipeline.config import load_params
from pipeline.core.task import load_task
from pipeline.core.workspace import Workspace

WITHOUT_TASK = ("backprop", "fetch", "gate")


def main() -> None:
    """Run every stage of dvc.yaml in its order."""
    collect_garbage_rarely()  # as in the processes of `dvc repro`
    workspace = Workspace(Path())
    params = load_params(workspace.params)
    task = load_task(params.task, workspace.root)
    names = YAML(typ="safe").load(workspace.root / "dvc.yaml")["stages"]
    modules = {name: importlib.import_module(f"pipeline.stages.{name}") for name in names}
    for name, module in modules.items():
        print(f"stage {name}", flush=True)
        settings = params if name == "release" else getattr(params, name)
        module.run(workspace, settings, *([] if name in WITHOUT_TASK else [task]))
    print("stage", flush=True)


if __name__ == "__main__":
    main()
