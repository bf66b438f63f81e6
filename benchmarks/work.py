"""python -m benchmarks.work: the stages' work, one after the other in this process, and no more.

Run by `benchmarks.pipeline`. All modules are imported first. A line `stage NAME` is written before
each stage begins, and `stage` after the last has ended.
"""

import importlib
from pathlib import Path

from ruamel.yaml import YAML

from pipeline.config import load_params


def main() -> None:
    """Run every stage of dvc.yaml in its order."""
    params = load_params()
    names = YAML(typ="safe").load(Path("dvc.yaml"))["stages"]
    modules = {name: importlib.import_module(f"pipeline.stages.{name}") for name in names}
    for name, module in modules.items():
        print(f"stage {name}", flush=True)
        module.run(params if name == "release" else getattr(params, name))
    print("stage", flush=True)


if __name__ == "__main__":
    main()
