"""The `backprop` stage: train the 2-2-2 network with hand-derived gradients and explain it."""

import io

from pipeline.backprop import diagram, figures, rates, workbook
from pipeline.backprop.network import gradient_without_parentheses, train
from pipeline.config import Backprop
from pipeline.core.figures import save_figure
from pipeline.core.files import write_bytes, write_csv
from pipeline.core.reports import BackpropReport
from pipeline.core.workspace import Workspace
from pipeline.tracking import Component, background


def run(workspace: Workspace, params: Backprop) -> None:
    """Write tables, workbook and figures, and publish them to MLflow."""
    with background.publishing(workspace, Component.BACKPROP):
        explain(workspace, params)


def explain(workspace: Workspace, params: Backprop) -> None:
    """Write tables, workbook and figures; the same params give the same bytes."""
    folder = workspace.backprop_reports
    start = params.start()
    training = train(*start, params.learning_rate, params.updates)
    long_run = train(*start, params.learning_rate, params.long_run)
    comparison = [train(*start, rate, params.updates) for rate in params.learning_rates]
    outcomes = rates.scan(*start, params.updates, params.long_run)

    write_csv(workspace.backprop_history, training.rows())
    losses = {other.label: other.losses for other in comparison}
    columns = {"iteration": range(params.updates + 1), **losses}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    write_csv(folder / "learning_rates.csv", rows)
    write_csv(folder / "learning_rate_scan.csv", [outcome._asdict() for outcome in outcomes])
    first = training.iterations[0]
    BackpropReport(
        params={**params.model_dump(mode="json"), "weights": start[2]},
        first_loss=training.losses[0],
        last_loss=training.losses[-1],
        long_run_loss=long_run.losses[-1],
        learning_rates_scanned=len(outcomes),
        highest_learning_rate_without_rise=rates.highest_without_rise(outcomes),
        first_gradient=list(first.backward.gradient),
        first_gradient_without_parentheses=list(gradient_without_parentheses(first)),
    ).write(workspace.backprop_summary)
    drawings = {
        "loss": figures.loss_curve(training, long_run),
        "learning_rates": figures.learning_rates(
            comparison, outcomes, params.updates, params.long_run
        ),
        "network": diagram.network_diagram(first.values()),
    }
    for name, figure in drawings.items():
        save_figure(figure, folder / f"{name}.png", folder / f"{name}.svg")
    save_figure(diagram.steps(training), folder / "steps.png")
    picture = io.BytesIO()
    diagram.network_diagram(width=7.2).savefig(picture, format="png")
    book = workbook.build(training, comparison, picture.getvalue())
    write_bytes(folder / "BackPropagation.xlsx", book)
    print(
        f"loss {training.losses[0]:.6g} initially, {training.losses[-1]:.6g} after "
        f"{params.updates} updates with learning rate {params.learning_rate:g}; see {folder}/"
    )
