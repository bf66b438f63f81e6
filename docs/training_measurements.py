"""Numbers and tables of the benchmarks of training, a function for each report."""

from pathlib import Path
from statistics import mean, median

from benchmarks.tables import table
from docs.measured import Values, made, read


def training(reports: Path) -> Values:
    """Our recipes and the baselines."""
    report = read(reports, "training")
    methods = report["methods"]
    rows = []
    for name, method in methods.items():
        last, reached = method["epochs"][-1], method["seconds_to_gate"]
        rows.append(
            [
                name,
                f"{last['parameters']:,}",
                len(method["epochs"]),
                f"{method['seconds']:,.0f}",
                f"{method['speed_up']:.1f} ×",
                f"{last['exported_accuracy']:.2%}",
                f"{reached:,.0f}" if reached else "not reached",
            ]
        )
    headers = ["", "parameters", "epochs", "seconds", "speed, original = 1"]
    headers += ["test accuracy, last epoch", f"seconds to {report['gate']:.1%}"]
    return {"": table(headers, rows), "made": made(report)}


def accuracy(reports: Path) -> Values:
    """The mean accuracy of each method on test images as they are and distorted."""
    report = read(reports, "accuracy")
    methods = report["accuracy"]
    rows = [
        [distortion, *(f"{mean(method[distortion]):.2%}" for method in methods.values())]
        for distortion in methods["original"]
    ]
    return {"": table(["test accuracy", *methods], rows), "made": made(report)}


def step(reports: Path) -> Values:
    """Where the time of a training step goes."""
    report = read(reports, "step")
    seconds = {variant: median(times) for variant, times in report["seconds_an_epoch"].items()}
    ratios = {
        name: f"{seconds[variant] / seconds['unchanged']:.2f}"
        for name, variant in {
            "float32": "float32",
            "memory_returned": "memory returned to the system",
            "channels_first": "channels first",
            "dropout": "with the original's dropout",
            "busy": "while another process is busy",
            "busy_spinning": "... and threads spin longer",
        }.items()
    }
    return ratios | {
        "seconds": f"{seconds['unchanged']:.1f}",
        "precision": report["precision"],
        "floor": f"{report['times_the_floor']:.1f}",
        "made": made(report),
    }


def scaling(reports: Path) -> Values:
    """Time and memory by the number of images."""
    report = read(reports, "scaling")
    slope = {name: line["slope"] for name, line in report["lines"].items()}
    return {
        "seconds": f"{1000 * slope['seconds_by_images']:.2f} s",
        "bytes": f"{slope['train_bytes_by_images']:.0f}",
        "made": made(report),
    }


def overhead(reports: Path) -> Values:
    """The time that DVC, MLflow and Prefect add."""
    report = read(reports, "overhead")
    repro, flow, own = (f"{median(times):.1f} s" for times in report["up_to_date_seconds"].values())
    work, cold = (
        median(run["total"] - run["epochs"] for run in report["runs"][method])
        for method in ("stages", "MLflow")
    )
    return {
        "first_run": f"{cold - work:.0f} s",
        "repro": repro,
        "flow": flow,
        "flow_own_server": own,
        "made": made(report),
    }


def gpu(reports: Path) -> Values:
    """Both recipes trained on a GPU."""
    report = read(reports, "gpu")
    trainings = {(each["recipe"], each["name"]): each for each in report["trainings"]}

    def seconds(recipe: str, name: str) -> float:
        epochs = trainings[recipe, name]["runs"][0]["epochs"]
        return float(sum(row["seconds"] for row in epochs))

    values = {"name": report["machine"]["gpu"]["name"]}
    for recipe in ("fast", "release"):
        runs = trainings[recipe, "seeds"]["runs"]
        found = [run["test_accuracy"] for run in runs]
        values |= {
            f"{recipe}.seconds": f"{seconds(recipe, 'graph'):.1f}",
            f"{recipe}.speed_up": f"{seconds(recipe, 'eager') / seconds(recipe, 'graph'):.1f}",
            f"{recipe}.seeds": f"{len(runs)}",
            f"{recipe}.mean": f"{mean(found):.2%}",
            f"{recipe}.range": f"{min(found):.2%} to {max(found):.2%}",
        }
    machine = report["machine"]
    made_by = (
        f"Measured on {report['date']}: {values['name']}, driver {machine['gpu']['driver']}, CUDA "
        f"{machine['gpu']['cuda']}; python {machine['python']}, torch {machine['torch']}."
    )
    return values | {"made": made_by}


ALL = (training, accuracy, step, scaling, overhead, gpu)
