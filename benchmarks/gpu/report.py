"""The report of `python -m benchmarks.gpu` in Markdown; uses the standard library only."""

from collections.abc import Sequence
from statistics import mean, stdev
from typing import Any

from benchmarks.gpu.jobs import Result
from benchmarks.tables import table

Rows = list[list[str]]


def text(report: Result) -> str:
    """Speed, accuracy, reproducibility, errors, warnings, and the machine."""
    trainings = report["trainings"]
    parts = [
        speed_table(trainings, report["gate"]),
        seeds_table(trainings),
        rates_table(trainings),
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
    """A row for each training with one seed that was not killed on purpose."""
    headers = [
        "training", "steps", "precision", "epochs", "s of set-up", "s of recording", "s of epochs",
        "s of first epoch", "s per later epoch", "images/s", "images/s after the first epoch",
        "test accuracy, last epoch", f"at least {gate:.1%}",
    ]  # fmt: skip
    rows: Rows = []
    for each in trainings:
        name = f"{each['recipe']}, {each['name']}"
        if each.get("skipped"):
            rows.append([name, each["skipped"], *[""] * (len(headers) - 2)])
        if each["name"] in ("killed", "seeds") or not each["runs"] or not each["runs"][0]["epochs"]:
            continue
        run = each["runs"][0]
        seconds = [row["seconds"] for row in run["epochs"]]
        recording, accuracy = run["record_seconds"], run.get("test_accuracy")
        rows.append(
            [
                name,
                steps(each["graph"]),
                each["precision"],
                f"{len(seconds)} of {each['planned_epochs']}",
                f"{each['setup_seconds'] + run['build_seconds']:.1f}",
                "" if recording is None else f"{recording:.2f}",
                f"{sum(seconds):.2f}",
                f"{seconds[0]:.3f}",
                f"{mean(seconds[1:]):.3f}" if seconds[1:] else "",
                f"{run['images'] / mean(seconds):,.0f}",
                f"{later_rate(run):,.0f}" if seconds[1:] else "",
                "" if accuracy is None else f"{accuracy:.2%}",
                "" if accuracy is None else "yes" if accuracy >= gate else "no",
            ]
        )
    return table(headers, rows)


def seeds_table(trainings: Sequence[Result]) -> str:
    """A row for each recipe that was trained with several seeds: the finished trainings."""
    headers = [
        "recipe", "steps", "seeds", "test accuracy, mean", "minimum", "standard deviation",
        "s of epochs, mean", "s of recording, mean",
    ]  # fmt: skip
    rows: Rows = []
    for each in trainings:
        finished = [run for run in each["runs"] if "test_accuracy" in run]
        if each["name"] != "seeds" or not finished:
            continue
        accuracies = [run["test_accuracy"] for run in finished]
        seconds = [sum(row["seconds"] for row in run["epochs"]) for run in finished]
        rows.append(
            [
                each["recipe"],
                steps(each["graph"]),
                f"{len(finished)} of {len(each['seeds'])}",
                f"{mean(accuracies):.3%}",
                f"{min(accuracies):.2%}",
                f"{stdev(accuracies):.3%}" if len(finished) > 1 else "",
                f"{mean(seconds):.2f}",
                f"{mean(run['record_seconds'] for run in finished):.2f}" if each["graph"] else "",
            ]
        )
    return table(headers, rows)


def rates_table(trainings: Sequence[Result]) -> str:
    """Images/s of training with `fast`, after the first epoch, and of inference."""
    rows: Rows = []
    for each in trainings:
        if (each["recipe"], each["name"]) in (("fast", "eager"), ("fast", "graph")):
            rows += [
                [f"training, {steps(each['graph'])}", each["precision"], f"{later_rate(run):,.0f}"]
                for run in each["runs"]
                if run["epochs"][1:]
            ]
    for each in trainings:
        rates = each.get("inference_rates", {})
        rows += [["inference", precision, f"{rate:,.0f}"] for precision, rate in rates.items()]
    return table(["", "precision", "images/s"], rows)


def later_rate(run: Result) -> float:
    """Images/s of training after the first epoch."""
    return float(run["images"] / mean(row["seconds"] for row in run["epochs"][1:]))


def steps(graph: bool) -> str:
    """How the steps of a training are taken."""
    return "graph" if graph else "eager"


def bits_table(compared: Sequence[Result]) -> str:
    """Whether the weights of trainings are those of the first one, with eager steps."""
    how = {
        "graph": "recorded",
        "again": "trained again",
        "resumed": "killed and resumed",
        "seeds": "among the seeds",
    }
    rows: Rows = []
    for row in compared:
        if row["same"] is None:
            verdict = "unknown"
        elif row["same"]:
            verdict = f"yes, in {row['epochs_compared']} epochs"
        else:
            verdict = f"**no**, from epoch {row['differs_in']:.0f} on"
        rows.append([f"{row['recipe']}, {how[row['name']]}", steps(row["graph"]), verdict])
    return table(["training", "steps", "bit-identical to eager"], rows)


def kills(trainings: Sequence[Result]) -> list[str]:
    """A line for each recipe that was killed and resumed."""
    resumed = {
        each["recipe"]: each["runs"][0]["after_epoch"]
        for each in trainings
        if each["name"] == "resumed" and each["runs"]
    }
    return [
        f"{each['recipe']} was killed (SIGKILL) after batch {each['kill_after'][1]} of epoch "
        f"{each['kill_after'][0]} and resumed after epoch {resumed[each['recipe']]}."
        for each in trainings
        if each["name"] == "killed" and not each["error"] and resumed.get(each["recipe"])
    ]


def warnings_of(trainings: Sequence[Result]) -> list[str]:
    """A line for each distinct warning."""
    every = dict.fromkeys(warning for each in trainings for warning in each["warnings"])
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
    return (
        "Set-up is the start of the process, its imports, and the data on the device; recording "
        "takes one step and captures another one; the seconds of an epoch include the copies of "
        "its weights and its state to the host. Test accuracy is measured once, on the torch "
        "network in float32, after the last epoch. Where training is compared to inference, it is "
        "`fast` after its first epoch; inference is from pixels on the device to "
        f"probabilities.{precision_and_memory(report['trainings'])}\n\n"
        f"Measured by `python -m benchmarks.gpu{' --quick' if report['quick'] else ''}` on "
        f"{report['date']} on {device}, {machine['cores']} cores, {machine['system']}; python "
        f"{machine['python']}, torch {machine['torch']}, numpy {machine['numpy']}; revision "
        f"{report['git_revision']}{f', with changes in {changed}' if changed else ''}."
    )


def precision_and_memory(trainings: Sequence[dict[str, Any]]) -> str:
    """The largest error of float32 and the most memory of all trainings, if known."""
    errors = [each["float32_error"] for each in trainings if "float32_error" in each]
    peaks = [each["peak_bytes"] for each in trainings if each.get("peak_bytes")]
    sentence = ""
    if errors:
        sentence += (
            f" In float32, a matrix product and a convolution differ by at most {max(errors):.0e} "
            "of the largest value from the exact result; with TF32 it would be near 1e-03."
        )
    if peaks:
        sentence += f" Training allocates up to {max(peaks) / 2**20:.0f} MiB of GPU memory."
    return sentence
