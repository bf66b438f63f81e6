"""Maps a missing package to the extra of the distribution that installs it."""

import traceback

from pipeline import DISTRIBUTION

EXTRAS = {  # keys: the folder in pipeline/ that imports the package
    "inference": "cpu",
    "batch": "score",
    "service": "serve",
    "journal": "serve",
    "core": "train",
    "mnist": "train",
    "negatives": "train",
    "backprop": "train",
    "training": "train",
    "evaluation": "train",
    "collection": "train",
    "monitoring": "train",
    "stages": "train",
    "registry": "tracking",
    "tracking": "tracking",
    "orchestration": "flow",
}
# for these packages, regardless of the folder
OF_PACKAGES = {
    "onnxruntime": "cpu",
    "onnxruntime_ep_openvino": "openvino",
    "cryptography": "verify",
    "mlflow": "tracking",
    "model_signing": "sign",
    "prometheus_client": "serve",
    "ray": "ray",
}


def advice(error: ModuleNotFoundError) -> str | None:
    """How to install the package that a module of the pipeline failed to import.

    None if the fault is in the pipeline's own code or in the dependencies of another package.
    """
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    spec = frame.f_globals.get("__spec__")  # under `python -m`, __name__ is __main__
    name = spec.name if spec else str(frame.f_globals.get("__name__"))
    project, _, module = name.partition(".")
    package = error.name or ""
    extra = OF_PACKAGES.get(package) or EXTRAS.get(module.partition(".")[0])
    if project != "pipeline" or package.partition(".")[0] == "pipeline" or extra is None:
        return None
    named = "cpu (or gpu, for CUDA)" if extra == "cpu" else extra
    return (
        f"the package {package} is not installed: install the extra {named} of {DISTRIBUTION}, "
        f'in a checkout with: pip install ".[{extra}]"'
    )
