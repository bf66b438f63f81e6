"""Numbers and tables of the benchmarks that pages can insert, a function for each report."""

import json
from pathlib import Path
from statistics import mean, median
from typing import Any

from benchmarks.pipeline.rule import power_table, slip_table
from benchmarks.service.canary import rows
from benchmarks.service.rates import memory_growth, rates_of
from benchmarks.tables import table

Values = dict[str, str]  # by the PART of the name; "" is the subject itself


def read(reports: Path, name: str) -> dict[str, Any]:
    """The JSON report of a benchmark."""
    report: dict[str, Any] = json.loads((reports / f"benchmarks/{name}.json").read_bytes())
    return report


def made(report: dict[str, Any]) -> str:
    """Date, hardware and versions of a benchmark."""
    hardware = report["hardware"]
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return (
        f"Measured on {report['date']}: {hardware['cores']} cores ({hardware['processor']}), "
        f"{hardware['memory_gib']} GiB; {versions}."
    )


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


def rule(reports: Path) -> Values:
    """How often an equally good model is released, and how far releases can slip."""
    report = read(reports, "rule")
    slip = report["slip"]
    return {
        "": power_table(report),
        "slip": slip_table(report),
        "most": f"{slip['rule']['max_true_loss']:.2%}",
        "mcnemar": f"{slip['mcnemar']['mean_true_loss']:.1%}",
        "candidates": f"{slip['candidates']}",
        "worse": f"{slip['worse']:.2%}",
        "made": made(report),
    }


def canary(reports: Path) -> Values:
    """When simulated canaries end."""
    report = read(reports, "canary")
    bad = report["bad"]
    return {
        "": rows(report),
        "soon": f"{bad['requests']}",
        "soon_share": f"{bad['ended_share']:.2%}",
        "made": made(report),
    }


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


def inference(reports: Path) -> Values:
    """The speed of the exported file."""
    report = read(reports, "inference")
    found = report["headline"]
    openvino = max(
        row["median"]
        for row in report["idle"]["images_per_second"]
        if row["engine"] == "OpenVINO, default" and row["batch_size"] == 256
    )
    return {
        "rate": f"{found['images_per_second']:,}",
        "speed_up": f"{found['speed_up']:.2f}",
        "cpu_rate": f"{found['cpu_images_per_second']:,}",
        "plain_rate": f"{found['plain_images_per_second']:,}",
        "int8_rate": f"{found['int8_images_per_second']:,}",
        "openvino_rate": f"{openvino:,}",
        "p50": f"{found['latency_us_p50']:.0f} µs",
        "openvino_p50": f"{found['openvino_latency_us_p50']:.0f} µs",
        "made": made(report),
    }


def pictures(reports: Path) -> Values:
    """The photographs that were read right, refused and read wrong."""
    report = read(reports, "pictures")
    number = report["pictures"]
    rows = [
        [name, *(f"{count / number:.1%}" for count in found.values())]
        for name, found in report["conditions"].items()
    ]
    headers = ["condition", "right", "refused", "wrong", "wrong and sure"]
    values = {
        "pictures": f"{number}",
        "wrong_and_sure": f"{report['wrong_and_sure']:.1%}",
        "made": made(report),
    }
    for part, name in {"even": "even light", "mixed": "all mixed"}.items():
        values[part] = f"{report['conditions'][name]['right'] / number:.1%}"
    return {"": table(headers, rows), **values}


def scoring(reports: Path) -> Values:
    """The speed and memory of `score`."""
    report = read(reports, "scoring")
    ours, loop, pictures = report["runs"]

    def rate(method: str) -> float:
        runs = report["runs"][method]
        return median(float(report["images"][method] / run["seconds"]) for run in runs)

    return {
        "images": f"{report['images'][ours]:,}",
        "seconds": f"{median(run['seconds'] for run in report['runs'][ours]):.0f}",
        "rate": f"{rate(ours):,.0f}",
        "times_a_loop": f"{rate(ours) / rate(loop):.2f}",
        "memory": f"{max(run['peak_bytes'] for run in report['runs'][ours]) / 1e6:.0f} MB",
        "picture_rate": f"{rate(pictures):,.0f}",
        "made": made(report),
    }


def serving(reports: Path) -> Values:
    """The HTTP service under load, on 64 connections."""
    report = read(reports, "serving")
    names = {
        "bytes": "ours, bytes",
        "json": "ours, JSON",
        "png": "ours, PNG",
        "mlflow": "MLflow, JSON",
        "mlflow_per_core": "MLflow per core, JSON",
        "litserve": "LitServe, JSON",
    }
    loads = {name: report["loads"][request]["64"] for name, request in names.items()}
    rates = {f"{name}_rate": f"{median(rates_of(runs)):,.0f}" for name, runs in loads.items()}
    latency = {
        key: f"{1000 * median(run[key] for run in loads['bytes']):,.0f} ms"
        for key in ("p50", "p99")
    }
    soak = report["soak"]
    growth = memory_growth(soak["resident_bytes"]) / 1e6
    return {
        **rates,
        **latency,
        "soak_minutes": f"{soak['load']['seconds'] / 60:.0f}",
        "soak_failed": f"{soak['load']['failed']:.0f}",
        "soak_requests": f"{soak['load']['requests']:,.0f}",
        "soak_growth": f"{abs(growth) if abs(growth) < 0.05 else growth:.1f} MB",
        "made": made(report),
    }


def swaps(reports: Path) -> Values:
    """Changes of the champion under load."""
    report = read(reports, "swaps")
    growth = report["memory_growth_bytes"] / 1e6
    return {
        **{name: f"{report[name]:,}" for name in ("connections", "swaps", "requests", "errors")},
        "seconds": f"{report['seconds']:.0f}",
        "followed": f"{median(report['followed_seconds']):.2f} s",
        "longest": f"{max(report['followed_seconds']):.2f} s",
        "growth": f"{abs(growth) if abs(growth) < 0.05 else growth:.1f} MB",
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


ALL = (
    *(training, accuracy, rule, step, inference, pictures, scoring, serving, canary, swaps),
    *(scaling, overhead, gpu),
)
