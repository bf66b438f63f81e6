"""python -m benchmarks.pipeline.stages: the stages one after the other in this process, no more.

Run by `python -m benchmarks overhead`. All modules are imported first. A line `stage NAME` is
written before each stage begins, and `stage` after the last has ended.
"""

import importlib
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.config import load_params
from pipeline.core.task import load_task
from pipeline.core.workspace import Workspace

OF_PARAMS = ("backprop", "fetch", "gate")  # that do not ask the task


def main() -> None:
    """Run every stage of dvc.yaml in its order."""
    workspace = Workspace(Path())
    params = load_params(workspace.params)
    task = load_task(params.task, workspace.root)
    names = YAML(typ="safe").load(workspace.root / "dvc.yaml")["stages"]
    modules = {name: importlib.import_module(f"pipeline.stages.{name}") for name in names}
    for name, module in modules.items():
        print(f"stage {name}", flush=True)
        settings = params if name == "release" else getattr(params, name)
        module.run(workspace, settings, *([] if name in OF_PARAMS else [task]))
    print("stage", flush=True)


if __name__ == "__main__":
    main()
