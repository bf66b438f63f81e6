"""Numbers and tables of the benchmarks of a model in use, a function for each report."""

from pathlib import Path
from statistics import median

from benchmarks.monitoring.report import per_thousand
from benchmarks.monitoring.report import power_table as monitoring_table
from benchmarks.pipeline.rule import power_table, slip_table
from benchmarks.service.canary import rows
from benchmarks.service.paired import ratio_table
from benchmarks.service.rates import memory_growth, rates_of
from benchmarks.tables import table
from docs.measured import Values, made, read


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


def monitoring(reports: Path) -> Values:
    """How soon `monitor` notices a change, and how often there is an alarm without one."""
    report = read(reports, "monitoring")
    splits, trials = report["splits"], report["trials"]
    return {
        "": monitoring_table(report),
        "windows": f"{splits * trials:,}",
        "trials": f"{trials:,}",
        **{
            f"false_alarms.{size}": per_thousand(measured["false_alarms"])
            for size, measured in report["windows"].items()
        },
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


def journal(reports: Path) -> Values:
    """What the journal costs."""
    report = read(reports, "journal")
    return {
        "": ratio_table("journal", report["loads"], report["ratios"]),
        "made": made(report),
    }


def shadow(reports: Path) -> Values:
    """What a challenger costs."""
    report = read(reports, "shadow")
    return {
        "": ratio_table("challenger", report["loads"], report["ratios"]),
        "made": made(report),
    }


ALL = (rule, canary, monitoring, inference, pictures, scoring, serving, swaps, journal, shadow)
