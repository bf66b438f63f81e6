"""The deployments in prefect.yaml belong to the flow in pipeline/orchestration/flow.py."""

import yaml

from pipeline.orchestration.settings import FLOW
from tests.checkout import PROJECT


def test_prefect_yaml_and_the_makefile_use_the_name_of_the_flow() -> None:
    content = yaml.safe_load((PROJECT / "prefect.yaml").read_text())
    assert content["name"] == FLOW
    for deployment in content["deployments"]:
        file, function = deployment["entrypoint"].split(":")
        assert f"@flow(name=FLOW)\ndef {function}(" in (PROJECT / file).read_text()
    assert f" deployment run {FLOW}/local" in (PROJECT / "Makefile").read_text()
