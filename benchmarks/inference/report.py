"""The report of `python -m benchmarks inference`: headline, tables and figure.

`idle` and `busy` are the measurements on an idle machine and on one with a busy core:
{"images_per_second": rows, "latency_us": rows}, with a row for each case.
"""

from typing import Any

from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from benchmarks.tables import median_and_range, table
from pipeline.core.figures import Figure

OURS, OURS_OPENVINO = "ours, CPU provider", "ours, OpenVINO provider"
INT8, INT8_OPENVINO = "int8, CPU provider", "int8, OpenVINO provider"
PLAIN = "plain export"
EAGER, COMPILED = "PyTorch, eager", "PyTorch, compiled"
OPENVINO, OPENVINO_FLOAT32 = "OpenVINO, default", "OpenVINO, float32"
WHOLE = "plain export, all images in one call"

Rows = list[dict[str, Any]]


def headline(idle: dict[str, Rows]) -> dict[str, float]:
    """The main results: throughput on all images, and p50 latency of one image."""
    rates = {row["engine"]: row["median"] for row in idle["images_per_second"]}
    p50 = {row["engine"]: float("inf") for row in idle["latency_us"]}
    for row in idle["latency_us"]:
        p50[row["engine"]] = min(p50[row["engine"]], row["p50"])
    on_all = {name: rates[f"{name}, all images"] for name in (OURS, OURS_OPENVINO, INT8_OPENVINO)}
    return {
        "images_per_second": on_all[OURS_OPENVINO],
        "cpu_images_per_second": on_all[OURS],
        "int8_images_per_second": on_all[INT8_OPENVINO],
        "plain_images_per_second": rates[WHOLE],
        "speed_up": round(on_all[OURS_OPENVINO] / rates[WHOLE], 2),
        "cpu_speed_up": round(on_all[OURS] / rates[WHOLE], 2),
        "int8_speed_up": round(on_all[INT8_OPENVINO] / rates[WHOLE], 2),
        "latency_us_p50": p50[OURS],
        "openvino_latency_us_p50": min(p50[OPENVINO], p50[OPENVINO_FLOAT32]),
    }


def show(result: dict[str, Any]) -> str:
    """The report in Markdown."""
    found, idle, busy = (result[key] for key in ("headline", "idle", "busy_core"))
    int8 = min(
        row["test_accuracy"] for row in result["agreement"] if row["engine"].startswith("int8")
    )
    passes = "would pass" if int8 >= result["min_accuracy"] else "would not pass"
    return "\n\n".join(
        [
            f"On all test images, ours reaches **{found['images_per_second']:,} images/s** with "
            f"the OpenVINO provider, **{found['speed_up']:.2f} times** the rate of the plain "
            f"export in one call ({found['plain_images_per_second']:,}); "
            f"{found['cpu_speed_up']:.2f} times with the CPU provider; int8 with the OpenVINO "
            f"provider {found['int8_speed_up']:.2f} times. One image takes "
            f"**{found['latency_us_p50']:.0f} µs** (p50) with the CPU provider; the faster "
            f"OpenVINO configuration takes {found['openvino_latency_us_p50']:.0f} µs.",
            f"{result['rounds']} rounds in random order; images/s as median (range). Other "
            f"programs used {result['disturbed']:.0%} of the CPU time.",
            _cases([row for row in idle["images_per_second"] if row["threads"] == 0]),
            *(_batches(idle["images_per_second"], number) for number in result["threads"]),
            _latency(idle["latency_us"]),
            "![Images per second and latency](inference.png)",
            "Differences from the answers of the plain export:",
            _agreement(result["agreement"]),
            f"int8 {passes} the gate ({result['min_accuracy']:.1%}).",
            "While another program keeps one core busy:",
            _cases(busy["images_per_second"]),
            _latency(busy["latency_us"]),
        ]
    )


def draw(result: dict[str, Any]) -> Figure:
    """Images/s by batch size on the most threads; latency of one image on the fewest and most."""
    rates, times = result["idle"]["images_per_second"], result["idle"]["latency_us"]
    few, most = result["threads"][0], result["threads"][-1]
    names = _names(times)
    figure = Figure(figsize=(11, 4.5))
    left, right = figure.subplots(1, 2)
    for number, name in enumerate(names):
        color = f"C{number}"
        rows = [row for row in rates if (row["engine"], row["threads"]) == (name, most)]
        sizes = [row["batch_size"] for row in rows]
        left.plot(sizes, [row["median"] for row in rows], "o-", color=color, label=name)
        least, greatest = ([of(row["samples"]) for row in rows] for of in (min, max))
        left.fill_between(sizes, least, greatest, color=color, alpha=0.12, linewidth=0)
        for row in (
            row for row in times if row["engine"] == name and row["threads"] in (few, most)
        ):
            hollow = row["threads"] == few
            place = len(names) - number + (0.15 if hollow else -0.15)
            right.plot([row["p50"], row["p99"]], [place, place], color=color)
            inside = "white" if hollow else color
            right.plot(row["p50"], place, "o", color=color, markerfacecolor=inside)
    base = result["headline"]["plain_images_per_second"]
    left.axhline(base, color="black", linestyle=":", label=WHOLE)
    left.set(xscale="log", xlabel="images per call", ylabel=f"images/s, {_threads(most)}")
    left.set_xticks(result["batch_sizes"], map(str, result["batch_sizes"]))
    left.set_ylim(bottom=0)
    right.set_yticks(range(len(names), 0, -1), names)
    right.set(xscale="log", xlabel=f"µs for one image, p50 to p99 (hollow: {_threads(few)})")
    right.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    for axis in (left.xaxis, right.xaxis):
        axis.set_minor_locator(NullLocator())
    for axis in (left.yaxis, right.xaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _threads(number: int) -> str:
    return f"{number} thread{'s' * (number != 1)}"


def _names(rows: Rows) -> list[str]:
    return list(dict.fromkeys(row["engine"] for row in rows))


def _spread(row: dict[str, Any]) -> str:
    return median_and_range(row["samples"], ",.0f")


def _cases(rows: Rows) -> str:
    """A line per case."""
    return table(
        ["", "threads", "images per call", "images/s (range)"],
        [
            [row["engine"], row["threads"] or "all", f"{row['batch_size']:,}", _spread(row)]
            for row in rows
        ],
    )


def _batches(rows: Rows, threads: int) -> str:
    """A line per engine, a column per batch size."""
    cells = {
        (row["engine"], row["batch_size"]): _spread(row)
        for row in rows
        if row["threads"] == threads
    }
    names, sizes = (list(dict.fromkeys(key[part] for key in cells)) for part in (0, 1))
    return table(
        [f"images/s, {_threads(threads)}", *(f"batches of {size}" for size in sizes)],
        [[name, *(cells[name, size] for size in sizes)] for name in names],
    )


def _latency(rows: Rows) -> str:
    """A line per engine, columns of p50 and p99 by threads."""
    numbers = sorted({row["threads"] for row in rows})
    cells = {(row["engine"], row["threads"]): row for row in rows}
    headers = [f"{q}, {_threads(number)}" for number in numbers for q in ("p50", "p99")]
    lines = [
        [name, *(f"{cells[name, number][q]:.0f}" for number in numbers for q in ("p50", "p99"))]
        for name in _names(rows)
    ]
    return table(["one image, µs", *headers], lines)


def _agreement(rows: Rows) -> str:
    """A line per engine: how its answers differ from the plain export's."""
    return table(
        ["", "predictions that differ", "largest logit difference", "test accuracy"],
        [
            [
                row["engine"],
                row["other_predictions"],
                f"{row['max_logit_difference']:.1g}",
                f"{row['test_accuracy']:.2%}",
            ]
            for row in rows
        ],
    )
