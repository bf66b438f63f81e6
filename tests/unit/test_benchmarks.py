"""The benchmarks are listed and start, and their reports match the measurements."""

import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

from benchmarks import __main__ as command
from benchmarks.memory import Cost
from benchmarks.monitoring.report import per_thousand, power_table
from benchmarks.pictures import reading
from benchmarks.pictures.reading import Counts, Outcome, count, show
from benchmarks.pipeline import scaling
from benchmarks.service import canary
from benchmarks.service.rates import memory_growth
from benchmarks.tables import median_and_range, table
from pipeline.core.errors import UserError
from pipeline.core.files import read_json
from pipeline.core.workspace import Workspace
from tests.checkout import MODEL, PROJECT, needs_model
from tests.training_sets import TRAINING, small_workspace

MIB = 2**20


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    """A workspace with small sets and a released model."""
    workspace = small_workspace(tmp_path)
    workspace.models.mkdir()
    shutil.copy(MODEL, workspace.models)
    return workspace


def test_every_benchmark_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    command.main([])
    listed = {benchmark.module for benchmark in command.BENCHMARKS.values()}
    modules = {
        f"{path.parent.name}.{path.stem}"
        for path in (PROJECT / "benchmarks").glob("*/*.py")
        if "def add_arguments(" in path.read_text()
    }
    assert modules == listed
    shown = capsys.readouterr().out
    assert all(re.search(rf"(?m)^{name} +\w", shown) for name in command.BENCHMARKS)


@pytest.mark.parametrize("name", command.BENCHMARKS)
def test_every_benchmark_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        command.run(name, ["--help"])
    assert ended.value.code == 0
    module = import_module(f"benchmarks.{command.BENCHMARKS[name].module}")
    assert re.match(rf"python -m benchmarks[ .]{name}: ", module.__doc__ or "")
    assert "--workspace" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["scaling", "--rounds", "1"], "train.safetensors is missing"),
        (["serving", "--rounds", "1"], "wrk is missing: apt-get install wrk"),
        (["gpu", "--quick"], "artifacts/gpu"),
    ],
)
def test_a_missing_prerequisite_is_reported_in_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(PROJECT / "params.yaml", tmp_path)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as ended:
        command.main([*arguments, "--workspace", str(tmp_path)])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert message in line


@needs_model
def test_scaling_recovers_linear_costs(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cost_of(scratch: Workspace, kind: str, images: int, *options: str) -> Cost:
        epochs = int(options[-1]) if "--epochs" in options else 1
        per_image = {"train": 784, "prepare": 1568, "infer": 864}[kind]
        seconds = 2 + images * epochs / 5000
        return Cost(seconds + 9, 100 * MIB + images * per_image, f"{seconds}\n")

    monkeypatch.setattr(scaling, "cost_of", cost_of)
    scaling.main(workspace, [150, 300, 600], [1, 2], [1, 2], rounds=1)
    reports = workspace.root / "reports/benchmarks"
    report = read_json(reports / "scaling.json")
    lines = {name: (line["slope"], line["start"]) for name, line in report["lines"].items()}
    assert lines == {
        "seconds_by_images": pytest.approx((1 / 5000, 2)),
        "seconds_by_epochs": pytest.approx((300 / 5000, 2)),
        "prepare_bytes_by_images": pytest.approx((1568, 100 * MIB)),
        "train_bytes_by_images": pytest.approx((784, 100 * MIB)),
        "infer_bytes_by_images": pytest.approx((864, 100 * MIB)),
    }
    assert report["peak_bytes_by_images"]["train"] == [
        [n, 100 * MIB + 784 * n] for n in (2 * TRAINING, TRAINING)
    ]
    text = (reports / "scaling.md").read_text()
    assert "0.20 s" in text
    assert re.search(r"\| prepare +\| +1,568 \| +100 \|", text)
    with Image.open(reports / "scaling.png") as figure:
        assert min(figure.size) > 300


def test_scaling_refuses_more_images_than_the_set_has(workspace: Workspace) -> None:
    with pytest.raises(UserError, match=f"there are {TRAINING}"):
        scaling.main(workspace, [500, 5000], [1], [1], rounds=1)


def test_memory_growth_excludes_the_warm_up() -> None:
    assert memory_growth([50, 90, *[100] * 8]) == pytest.approx(0)
    growing = [100 + 3 * second for second in range(300)]
    assert memory_growth(growing) == pytest.approx(3 * 180)


def test_photographs_are_counted_by_outcome() -> None:
    """A refusal is right if there is not exactly one digit."""
    found = [Outcome(*each) for each in [
        (3, 3, 0.99), (3, None, 0.0), (3, 8, 0.95), (3, 8, 0.5), (None, None, 0.0), (None, 1, 0.99),
    ]]  # fmt: skip
    counts = count(found)
    assert counts == Counts(right=2, refused=1, wrong=3, wrong_and_sure=2)
    assert re.search(r"all mixed +\| +20.0% \| +10.0% \|", show({"all mixed": counts}, 10, 0.5))


@needs_model
def test_photographs_of_a_condition_are_read(workspace: Workspace) -> None:
    outcomes = reading.outcomes(workspace, 8, True, "even light")
    assert [found.label for found in outcomes] == [found.answer for found in outcomes]
    assert outcomes == reading.outcomes(workspace, 8, True, "even light")


def test_tables_are_markdown() -> None:
    assert table(["", "images/s"], [["ours", median_and_range([7, 1200, 8], ",.0f")]]) == (
        "|      |       images/s |\n| ---- | -------------: |\n| ours | 8 (7 to 1,200) |"
    )
    assert table(["", "images/s"], []) == ""


def test_the_sooner_a_canary_ends_the_worse_it_is(tmp_path: Path) -> None:
    canary.main(Workspace(tmp_path), runs=400)
    report = read_json(tmp_path / "reports/benchmarks/canary.json")
    ended = list(report["ended_share"].values())
    assert ended == sorted(ended)
    assert ended[0] == 0
    assert ended[-1] == 1
    medians = [found[0] for found in report["quantiles"].values() if found[0] is not None]
    assert medians == sorted(medians, reverse=True)
    assert report["bad"]["ended_share"] > 0.98
    assert "| 20% " in (tmp_path / "reports/benchmarks/canary.md").read_text()


def test_the_power_table_has_the_mean_number_of_windows_and_the_loss() -> None:
    def row(change: str, noticed: float, accuracy: float | None) -> dict[str, object]:
        return {"change": change, "severity": "2", "noticed": noticed, "accuracy": accuracy,
                "estimated": 0.98}  # fmt: skip

    small = [row("none", 0, 0.99), row("moved", 0.25, 0.965), row("gone", 1, None)]
    large = [row("none", 0, 0.99), row("moved", 0.5, 0.965), row("gone", 1, None)]
    found = power_table({"windows": {"100": {"power": small}, "500": {"power": large}}})
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in found.splitlines()]
    assert cells[2:] == [
        ["none", "2", "-", "-", "0.0", "0.0"],
        ["moved", "2", "4.0", "2.0", "2.5", "0.0"],
        ["gone", "2", "1.0", "1.0", "-", "0.0"],
    ]
    assert per_thousand([0.0, 0.004]) == "2.0"
