"""Which ONNX file in a models/ folder is the released one."""

from pathlib import Path

from pipeline.core.errors import UserError
from pipeline.core.files import read_checksums


def model_in(models: Path) -> Path:
    """The ONNX file in a models/ folder, which is named after its model; it need not exist.

    If there are several files, it is the one that SHA256SUMS lists: the promotion of a model of
    another name may have been interrupted. UserError if SHA256SUMS does not list exactly one.
    """
    found = sorted(models.glob("[!.]*.onnx"))
    if len(found) > 1:
        names, sums = ", ".join(path.name for path in found), models / "SHA256SUMS"
        listed = read_checksums(sums) if sums.exists() else {}
        found = [path for path in found if path.name in listed]
        if len(found) != 1:
            raise UserError(
                f"{models} contains {names}, but {sums.name} does not list exactly one of them: "
                "remove those that are not released"
            )
    return found[0] if found else models / "model.onnx"
