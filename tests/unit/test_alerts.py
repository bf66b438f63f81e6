"""Alert rules and dashboard ask for metrics that exist, and every alert is tested and explained."""

import json
import re
from typing import Any, NamedTuple

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from docs.generated.watched import example
from pipeline.monitoring import metrics
from tests.checkout import PROJECT, needs_model
from tests.digits import make_digits
from tests.services import INFER, binary_request, client_of, make_app, png

pytestmark = needs_model
FOLDER = PROJECT / "docker/monitoring"
OF_PROMETHEUS = {"up": {"job"}}
WORDS = {"by", "or", "ignoring"}


class Query(NamedTuple):
    """A query, with the labels that its legend or text shows."""

    where: str
    expression: str
    shown: set[str]


def rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load((FOLDER / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def queries() -> list[Query]:
    found = [
        Query(rule["alert"], rule["expr"],
              set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"]))))
        for rule in rules()
    ]  # fmt: skip
    panels = json.loads((FOLDER / "grafana/dashboard.json").read_text())["panels"]
    found += [
        Query(panel["title"], target["expr"],
              set(re.findall(r"{{(\w+)}}", target["legendFormat"])))
        for panel in panels for target in panel.get("targets", [])
    ]  # fmt: skip
    return found


@pytest.fixture(scope="module")
def known() -> dict[str, set[str]]:
    """The labels of every metric that the service and the monitor report."""
    with client_of(make_app()) as client:
        body, headers = binary_request(make_digits(2, seed=1)[0])
        client.post(INFER, body, headers=headers)
        client.post("/predict", png(make_digits(1, seed=1)[0][0]))
        text = client.get("/metrics").text
    found: dict[str, set[str]] = dict(OF_PROMETHEUS)
    for report in (text, metrics.text(example()).decode()):
        for family in text_string_to_metric_families(report):
            for sample in family.samples:
                found.setdefault(sample.name, {"job"}).update(sample.labels)
    return found


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.where.replace(" ", "-"))
def test_every_query_asks_for_metrics_and_labels_that_exist(
    query: Query, known: dict[str, set[str]]
) -> None:
    assert query.expression.count("(") == query.expression.count(")")
    plain = re.sub(r'"[^"]*"', "", query.expression)
    labels = set[str]()
    for name, matchers in re.findall(r"(\w+){([^}]*)}", plain):
        used = set(re.findall(r"(\w+)\s*(?:=|!)", matchers))
        assert used <= known.get(name, set()), name
    plain = re.sub(r"{[^}]*}|\[[^\]]*\]", "", plain)
    for grouped in re.findall(r"\b(?:by|ignoring) ?\(([^)]*)\)", plain):
        labels |= set(re.findall(r"\w+", grouped))
    plain = re.sub(r"\b(?:by|ignoring) ?\([^)]*\)", "", plain)
    names = set(re.findall(r"\b([a-z_]\w*)\b(?!\s*\()", plain)) - WORDS
    assert names
    assert names <= known.keys()
    assert labels | query.shown <= set().union(*(known[name] for name in names)) | {"le"}


def test_every_alert_is_tested_and_has_a_runbook() -> None:
    tests = yaml.safe_load((FOLDER / "alerts_test.yml").read_text())["tests"]
    fired = {
        case["alertname"]
        for test in tests for case in test["alert_rule_test"] if case.get("exp_alerts")
    }  # fmt: skip
    page = (PROJECT / "docs/how-to/monitor.md").read_text()
    headings = {f"#{name.lower()}" for name in re.findall(r"(?m)^### (\w+)$", page)}
    for rule in rules():
        assert rule["alert"] in fired
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert path == "docs/how-to/monitor.md"
        assert f"#{anchor}" in headings
        assert rule["labels"]["severity"] in ("page", "ticket")
    quiet = {case["alertname"] for case in tests[0]["alert_rule_test"]}
    assert quiet == {rule["alert"] for rule in rules()}
    assert len(headings) == len(rules())


def test_prometheus_knows_the_other_containers_by_their_names() -> None:
    services = yaml.safe_load((PROJECT / "docker/compose.yaml").read_text())["services"]
    settings = yaml.safe_load((FOLDER / "prometheus.yml").read_text())
    static = [*settings["scrape_configs"], *settings["alerting"]["alertmanagers"]]
    targets = [t for each in static for group in each["static_configs"] for t in group["targets"]]
    assert {target.partition(":")[0] for target in targets} <= services.keys()
    monitor = services["monitor"]["command"]
    assert monitor[monitor.index("monitor") + 1] == services["serve"]["command"][-1]  # the journal
    assert all("healthcheck" in service for service in services.values())  # docker/stack waits
