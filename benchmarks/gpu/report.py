"""The report of `python -m benchmarks.gpu` in Markdown; uses the standard library only."""

from collections.abc import Sequence
from typing import Any

from benchmarks.gpu.jobs import Result
from benchmarks.tables import table


def text(report: Result) -> str:
    """Speed, reproducibility, errors, warnings, and the machine."""
    trainings = report["trainings"]
    parts = [
        speed_table(trainings, report["gate"]),
        bits_table(report["same_bits"]),
        *kills(trainings),
        *(
            f"{each['recipe']}, {each['name']}: {each['error']}"
            for each in trainings
            if each["error"]
        ),
        *warnings_of(trainings),
        made_on(report),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def speed_table(trainings: Sequence[Result], gate: float) -> str:
    """A row for each training that was not killed on purpose."""
    rows = []
    for each in trainings:
        epochs = each.get("epochs") or []
        if each["name"] == "killed" or not epochs:
            continue
        seconds = [row["seconds"] for row in epochs]
        images, warm = each["images"], seconds[1:]
        accuracy = each.get("test_accuracy")
        rows.append(
            [
                f"{each['recipe']}, {each['name']}",
                each["precision"],
                f"{len(epochs)} of {each['planned_epochs']}",
                f"{sum(seconds):.1f}",
                f"{each['process_seconds']:.1f}",
                f"{len(seconds) * images / sum(seconds):,.0f}",
                f"{len(warm) * images / sum(warm):,.0f}" if warm else "",
                f"{seconds[0]:.2f}",
                f"{sum(warm) / len(warm):.2f}" if warm else "",
                "" if accuracy is None else f"{accuracy:.2%}",
                "" if accuracy is None else "yes" if accuracy >= gate else "no",
                f"{each['float32_error']:.0e}" if "float32_error" in each else "",
            ]
        )
    headers = [
        "training", "precision", "epochs", "s of epochs", "s of process", "images/s",
        "images/s after the first epoch", "s of first epoch", "s per later epoch",
        "test accuracy, last epoch", f"at least {gate:.1%}", "float32 error",
    ]  # fmt: skip
    return table(headers, rows)


def bits_table(same: dict[str, dict[str, Any]]) -> str:
    """Whether the weights of repeated trainings are bit-identical."""
    how = {"again": "trained again", "resumed": "killed and resumed"}
    rows = []
    for recipe, by_name in same.items():
        for name, found in by_name.items():
            if found["same"] is None:
                verdict = "unknown"
            elif found["same"]:
                verdict = f"yes, in {found['epochs_compared']} epochs"
            else:
                verdict = f"**no**, from epoch {found['differs_in']:.0f} on"
            rows.append([f"{recipe}, {how[name]}", verdict])
    return table(["training", "bit-identical to the first"], rows)


def kills(trainings: Sequence[Result]) -> list[str]:
    """A line for each recipe that was killed and resumed."""
    resumed = {
        each["recipe"]: each.get("after_epoch") for each in trainings if each["name"] == "resumed"
    }
    return [
        f"{each['recipe']} was killed (SIGKILL) after batch {each['kill_after'][1]} of epoch "
        f"{each['kill_after'][0]} and resumed after epoch {resumed[each['recipe']]}."
        for each in trainings
        if each["name"] == "killed" and not each["error"] and resumed.get(each["recipe"])
    ]


def warnings_of(trainings: Sequence[Result]) -> list[str]:
    """A line for each distinct warning."""
    every = dict.fromkeys(warning for each in trainings for warning in each.get("warnings") or [])
    return [f"Warning: {warning}" for warning in every]


def made_on(report: Result) -> str:
    """Hardware, versions and code, and the meaning of the columns."""
    machine = report["machine"]
    if machine is None:
        return "No training started."
    gpu = machine["gpu"]
    device = (
        f"{gpu['name']} ({machine['gpu_bytes'] / 2**30:.0f} GiB, driver {gpu['driver']}, CUDA "
        f"{gpu['cuda']}, cuDNN {gpu['cudnn']}, TF32 {'on' if gpu['tf32'] else 'off'})"
        if gpu
        else "the CPU"
    )
    changed = ", ".join(report["code_changed"])
    peaks = [each["peak_bytes"] for each in report["trainings"] if each.get("peak_bytes")]
    memory = (
        f" Training allocates up to {max(peaks) / 2**20:.0f} MiB of GPU memory." if peaks else ""
    )
    return (
        "Test accuracy is measured once, on the torch network, after the last epoch. The float32 "
        "error is the larger one of a matrix product and a convolution, relative to the largest "
        f"value; with TF32 it would be near 1e-03.{memory}\n\n"
        f"Measured by `python -m benchmarks.gpu{' --quick' if report['quick'] else ''}` on "
        f"{report['date']} on {device}, {machine['cores']} cores, {machine['system']}; python "
        f"{machine['python']}, torch {machine['torch']}, numpy {machine['numpy']}; revision "
        f"{report['git_revision']}{f', with changes in {changed}' if changed else ''}."
    )
