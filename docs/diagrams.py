"""The diagrams of docs/images as SVG: the DAG, the layers, the life of a release, the loop."""

import tomllib
from pathlib import Path

from docs.svg import GREEN, GREY, RED, YELLOW, arrow, box, label, svg
from pipeline.orchestration.dag import read_dag

MAKES = {  # the output of each stage, in two words
    "backprop": "spreadsheet",
    "fetch": "raw files",
    "prepare": "three sets",
    "collect": "feedback",
    "train": "weights",
    "detect": "detector",
    "calibrate": "thresholds",
    "export": "ONNX file",
    "evaluate": "metrics",
    "gate": "verdict",
    "release": "models/",
}
HOLDS = {  # what each package holds, in a few words
    "cli": "the commands",
    "orchestration": "the DAG, and the flows of Prefect",
    "stages": "a module per stage",
    "service": "the HTTP service",
    "batch": "predict and score",
    "monitoring": "a model in use",
    "registry": "releases",
    "journal": "what the service keeps",
    "config": "params.yaml, validated",
    "tracking": "MLflow, fed from files",
    "training": "the training loop",
    "evaluation": "metrics, figures",
    "inference": "the ONNX file",
    "negatives": "images of no class",
    "collection": "images from use",
    "mnist": "the task",
    "pictures": "pictures of any kind",
    "backprop": "the 2-2-2 network",
    "core": "workspace, files, errors, typed reports, what a task is",
}
STAGE, GAP, TOP = (96, 52), 32, 92  # pixels, of the DAG: its boxes, between them, above them


def draw_dag(root: Path) -> str:
    """The DAG of dvc.yaml in this folder: the longest chain in a row, other edges above."""
    stages = read_dag(root)
    needed = {name for stage in stages.values() for name in stage.needs}
    row = [name for name, stage in stages.items() if stage.needs or name in needed]
    alone = [name for name in stages if name not in row]
    left = {name: GAP + place * (STAGE[0] + GAP) for place, name in enumerate(row)}
    parts = []
    for name in row:
        for source in stages[name].needs:
            steps = row.index(name) - row.index(source)
            parts.append(_edge(left[source], left[name], steps))
    below = TOP + STAGE[1] + GAP
    places = {name: (left[name], TOP) for name in row}
    places |= {name: (GAP + n * (STAGE[0] + GAP), below) for n, name in enumerate(alone)}
    parts += [box(place, STAGE, name, MAKES[name]) for name, place in places.items()]
    width, height = GAP + len(row) * (STAGE[0] + GAP), below + STAGE[1] + GAP // 2
    return svg("The DAG of dvc.yaml", width, height, parts)


def _edge(start: int, end: int, steps: int) -> str:
    if steps == 1:
        return arrow(f"M{start + STAGE[0]} {TOP + STAGE[1] // 2}H{end - 1}")
    # an arc; longer ones rise higher
    begin, stop, high = start + STAGE[0] * 0.7, end + STAGE[0] * 0.3, TOP - 13 * steps
    return arrow(f"M{begin:g} {TOP}C{begin:g} {high} {stop:g} {high} {stop:g} {TOP - 1}", 1)


def draw_layers(root: Path) -> str:
    """The layers of the package `pipeline`, as pyproject.toml in this folder enforces them."""
    settings = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    (layers,) = (
        contract["layers"]
        for contract in settings["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    rows = [layer.split(" | ") for layer in layers if layer != "__main__"]
    width, between, left = 740, 10, 40
    bottom = 20 + len(rows) * (STAGE[1] + between)
    parts = [arrow(f"M20 24V{bottom - between}")]
    for number, row in enumerate(rows):
        each = (width - left - 20 - between * (len(row) - 1)) // len(row)
        parts += [
            box(
                (left + place * (each + between), 20 + number * (STAGE[1] + between)),
                (each, STAGE[1]),
                name,
                HOLDS[name],
            )
            for place, name in enumerate(row)
        ]
    rule = "An import points down, never up. Packages in one row do not import each other."
    parts.append(label(width // 2, bottom + 16, rule))
    return svg("The layers of the package pipeline", width, bottom + 32, parts)


def draw_life() -> str:
    """The states of a release, and what moves it between them."""
    size = (170, 60)
    return svg(
        "The life of a release",
        850,
        470,
        [
            arrow("M190 90H299"),
            label(244, 80, "gate passed"),
            arrow("M470 90H609"),
            label(540, 64, "not inferior, or", "$promote N"),
            arrow("M105 120V249"),
            label(115, 178, "gate not passed,", "or inferior", anchor="start"),
            arrow("M360 120V249"),
            label(350, 178, "$serve", "$--challenger N", anchor="end"),
            arrow("M410 249V121"),
            label(420, 178, "ends by itself", anchor="start"),
            arrow("M470 265C550 260 590 190 622 121"),
            label(478, 290, "$promote N", anchor="start"),
            arrow("M722 120V249"),
            label(714, 178, "another one", "is promoted", anchor="end"),
            arrow("M762 249V121"),
            label(771, 178, "$rollback", anchor="start"),
            arrow("M695 310V389"),
            label(705, 345, "5 newer ones,", "unless in use", anchor="start"),
            box((20, 60), size, "candidate", "artifacts/model.onnx"),
            box((300, 60), size, "registered", "models/releases/N"),
            box((610, 60), size, "champion", "answers requests", GREEN),
            box((20, 250), size, "refused", "a line in the ledger", RED),
            box((300, 250), size, "challenger", "shadow, then canary"),
            box((610, 250), size, "previous", "one step back"),
            box((610, 390), size, "removed", "the number stays used", GREY),
        ],
    )


def draw_loop() -> str:
    """How what a model sees in use becomes the next release."""
    size = (170, 60)
    left, right = 20, 290
    return svg(
        "The loop",
        480,
        560,
        [
            arrow("M341 50C365 50 375 60 375 119"),
            label(385, 92, "copies", anchor="start"),
            arrow("M375 180V229"),
            label(385, 209, "windows", anchor="start"),
            arrow("M375 290V339"),
            label(385, 319, "drift", anchor="start"),
            arrow("M375 400C375 460 365 480 341 480"),
            label(385, 440, "labels", anchor="start"),
            arrow("M289 270C250 280 240 330 240 449"),
            label(262, 318, "accuracy fell", anchor="start"),
            arrow("M140 480C115 480 105 460 105 401"),
            label(95, 440, "begins", anchor="end"),
            arrow("M289 160C235 190 220 320 191 362"),
            label(238, 204, "images", anchor="end"),
            arrow("M105 340V291"),
            label(95, 319, "feedback", anchor="end"),
            arrow("M105 230V181"),
            label(95, 209, "a release", anchor="end"),
            arrow("M105 120C105 60 115 50 139 50"),
            label(95, 92, "promotion", anchor="end"),
            arrow("M205 80C205 120 205 140 191 145"),
            label(213, 112, "copies", anchor="start"),
            box((140, 20), (200, 60), "service", "the champion answers", GREEN),
            box((right, 120), size, "journal", "images and answers"),
            box((right, 230), size, "monitor", "tests and accuracy"),
            box((right, 340), size, "review", "people say what it is", YELLOW),
            box((140, 450), (200, 60), "retrain", "a fall, and enough labels"),
            box((left, 340), size, "collect", "refuses test images"),
            box((left, 230), size, "train … release", "the DAG, gate and rule"),
            box((left, 120), size, "trial", "the new release"),
            label(240, 540, "Each step from review to promotion is a line in the ledger."),
        ],
    )


def draw_all(root: Path) -> dict[str, str]:
    """All diagrams by name; the DAG and the layers are those of the project in this folder."""
    return {
        "dag": draw_dag(root),
        "layers": draw_layers(root),
        "life": draw_life(),
        "loop": draw_loop(),
    }
