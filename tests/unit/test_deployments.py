"""The deployments in prefect.yaml belong to the flows in pipeline/orchestration."""

from typing import get_args

import yaml

from pipeline.monitoring.state import Kind
from pipeline.orchestration.settings import EVENTS, FLOW
from tests.checkout import PROJECT


def test_prefect_yaml_and_the_makefile_use_the_name_of_the_flow() -> None:
    content = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    assert content["name"] == FLOW
    for deployment in content["deployments"]:
        file, function = deployment["entrypoint"].split(":")
        name = {"monitor": "MONITOR", "retrain": "RETRAIN"}.get(deployment["name"], "FLOW")
        assert f"@flow(name={name})\ndef {function}(" in (PROJECT / file).read_text()
    assert f" deployment run {FLOW}/local" in (PROJECT / "Makefile").read_text()


def test_no_schedule_is_active_before_somebody_resumes_it() -> None:
    content = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    schedules = [each for found in content["deployments"] for each in found["schedules"]]
    assert [each["active"] for each in schedules] == [False] * len(schedules) != []


def test_every_event_of_watching_runs_the_retraining() -> None:
    content = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    (trigger,) = [
        trigger
        for deployment in content["deployments"]
        for trigger in deployment.get("triggers", [])
    ]
    assert set(trigger["expect"]) == {f"{EVENTS}.{kind}" for kind in get_args(Kind)}
    assert trigger["match"] == {"prefect.resource.id": f"{EVENTS}.model.*"}
