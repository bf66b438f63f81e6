"""The MLflow run of the 2-2-2 network: its params, the loss of each iteration, its files."""

import time

from mlflow import MlflowClient
from mlflow.entities import Metric, Run

from pipeline import environment, paths
from pipeline.files import read_csv, read_json, sha256
from pipeline.tracking.runs import fill, find_run, flow_tags, upload


def publish_backprop(client: MlflowClient, experiment: str) -> Run:
    """Give the run of what is in reports/backprop all that it lacks.

    These files hold no time, revision or flow run, so that they are the same on every run, and
    MLflow has one run for all with the same outcome; its flow run is the last that published it.
    """
    outcome = sha256(paths.BACKPROP_SUMMARY)
    run = find_run(client, experiment, outcome, "backprop", round(time.time() * 1000))
    metrics = [
        Metric(name, row[name], run.info.start_time, int(row["iteration"]))
        for row in read_csv(paths.BACKPROP_HISTORY)
        for name in ("E1", "E2", "E_total")
    ]
    summary = read_json(paths.BACKPROP_SUMMARY)
    tags = {
        "mlflow.source.name": "python -m pipeline backprop",
        "mlflow.note.content": "A 2-2-2 sigmoid network, trained by hand-derived gradients: the "
        f"loss goes from {summary['first_loss']:.6g} to {summary['last_loss']:.6g}.",
        **flow_tags(environment.flow_run()),
    }
    fill(client, run, summary["params"], metrics, tags)
    upload(client, run, sorted(path for path in paths.BACKPROP.iterdir() if path.is_file()))
    if run.info.status != "FINISHED":
        client.set_terminated(run.info.run_id, "FINISHED")
    return run
