"""The Prometheus metrics of the service after one request, and of the monitor."""

from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families

from docs.generated.markdown import code, sentence, table
from docs.generated.service import ask, picture
from docs.generated.watched import example
from pipeline.monitoring import metrics


def page() -> str:
    """Tables of the metrics of service, process and monitor, and of the buckets of histograms."""
    ask("POST", "/predict", content=picture())
    ask("GET", "/v2")
    answer = ask("GET", "/metrics").text
    families = list(text_string_to_metric_families(answer))
    of_process = [f for f in families if f.name.startswith(("process_", "python_"))]
    own = [family for family in families if family not in of_process]
    of_monitor = text_string_to_metric_families(metrics.text(example()).decode())
    columns = ["Name", "Type", "Labels", "Meaning"]
    return "\n".join(
        [
            "## Metrics of the service\n",
            table(columns, map(_row, own)),
            "## Buckets of the histograms\n",
            table(["Name", "Upper bounds"], [[code(f.name), b] for f in own if (b := _buckets(f))]),
            "## Metrics of the process\n",
            table(columns, map(_row, of_process)),
            "## Metrics of the monitor\n",
            "`monitor --metrics FILE` writes them; those of a window follow the first window.\n",
            table(columns, map(_row, of_monitor)),
        ]
    )


def _row(family: Metric) -> list[str]:
    labels = dict.fromkeys(name for sample in family.samples for name in sample.labels)
    shown = ", ".join(code(name) for name in labels if name != "le")
    name = f"{family.name}_total" if family.type == "counter" else family.name
    return [code(name), family.type, shown, sentence(family.documentation)]


def _buckets(family: Metric) -> str:
    bounds = dict.fromkeys(s.labels["le"] for s in family.samples if "le" in s.labels)
    return ", ".join(f"{float(bound):g}" for bound in bounds if bound != "+Inf")
